package handoff

import (
	"bufio"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// answering is a current keeper with nothing but a control socket.
func answering(t *testing.T) *keeper {
	t.Helper()
	s, err := bindControl(abstractControl())
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{state: current, stageFD: -1}
	k.Generation, k.Control = 7, s
	k.keepSpare()
	t.Cleanup(func() {
		for len(k.peers) > 0 {
			k.dropPeer(k.peers[0])
		}
		k.makeRoom()
		s.Close()
	})
	return k
}

// peer is a socket that knows nothing of the protocol.
func peer(t *testing.T) *channel {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newChannel(fd)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *channel) connect(t *testing.T) {
	t.Helper()
	spec, err := controlSpec(abstractControl())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(c.fd, &unix.SockaddrUnix{Name: spec.Address}); err != nil {
		t.Fatal(err)
	}
}

// TestNoRequestMakesTheKeeperWait: invariant I10. Whatever a peer sends, and even if
// it promises more, it is answered or dropped at once, and its descriptors closed.
func TestNoRequestMakesTheKeeperWait(t *testing.T) {
	large := ".reload\x00version=1\x00padding=" + strings.Repeat("x", maxRequest) + "\x00"
	for name, c := range map[string]struct {
		data string
		fds  int
		want string // "" for a hang-up
	}{
		"text":               {"GET / HTTP/1.1\r\n\r\n", 0, ""},
		"more follows":       {"+reload\x00version=1\x00", 0, ""},
		"another version":    {".reload\x00version=0\x00", 0, msgRefused},
		"another request":    {".dance\x00version=1\x00", 0, msgRefused},
		"descriptors":        {".reload\x00version=1\x00", recordFDs, ""},
		"unknown descriptor": {".dance\x00version=1\x00@a=\x00", 1, msgRefused},
		"descriptors alone":  {"", recordFDs, ""},
		"large":              {large, 0, ""},
		"1 MiB":              {large + strings.Repeat("y", 1<<20), 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := answering(t)
			checkFDs(t)
			p := peer(t)
			defer p.close()
			p.connect(t)
			if len(c.data) > 1<<20 { // the kernel takes no larger record, and this one only from root
				if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20); err != nil {
					t.Fatal(err)
				}
			}
			if err := unix.Sendmsg(p.fd, []byte(c.data), unix.UnixRights(slices.Repeat([]int{p.fd}, c.fds)...), nil, 0); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			k.await() // accepts
			k.await() // reads
			if took := time.Since(begin); took > time.Second {
				t.Errorf("took %v", took)
			}
			if m, err := p.receive(); m.kind != c.want || c.want == "" && !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("the peer heard %q, %v, want %q", m.kind, err, c.want)
			}
			if len(k.peers) != 0 || k.successor != nil {
				t.Errorf("it is still there")
			}
		})
	}
}

// TestNobodyKeepsALauncherOut: a launcher has connected and not yet sent its request
// when another process opens more connections than are held.
func TestNobodyKeepsALauncherOut(t *testing.T) {
	k := answering(t)
	launcher := as(os.Geteuid(), "peer")
	out, err := launcher.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := launcher.Start(); err != nil {
		t.Fatal(err)
	}
	k.await()
	first := k.peers[0]
	for range 3 * maxPeers {
		p := peer(t)
		defer p.close()
		p.connect(t)
		k.await()
	}
	if len(k.peers) != maxPeers || k.peers[0] != first {
		t.Errorf("got %d peers, want %d, with the launcher among them", len(k.peers), maxPeers)
	}
	if err := first.send(message{kind: "hello"}); err != nil {
		t.Error(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "hello\n" {
		t.Errorf("the launcher heard %q, %v", line, err)
	}
	if err := launcher.Wait(); err != nil {
		t.Error(err)
	}
}

// limitFDs leaves no descriptor free until restore is called.
func limitFDs(t *testing.T) (restore func()) {
	t.Helper()
	next, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	set := func(r unix.Rlimit) {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
			t.Fatal(err)
		}
	}
	set(unix.Rlimit{Cur: uint64(next), Max: old.Max})
	return func() { set(old) }
}

// TestKeeperWithoutDescriptorsServesOnePeer: the one in reserve goes from peer to
// peer, and comes back.
func TestKeeperWithoutDescriptorsServesOnePeer(t *testing.T) {
	k := answering(t)
	peers := []*channel{peer(t), peer(t), peer(t)}
	for _, p := range peers {
		defer p.close()
		p.connect(t)
	}
	defer limitFDs(t)()
	for i, p := range peers {
		if k.await(); len(k.peers) != 1 {
			t.Fatalf("connection %d: got %d peers, want 1", i+1, len(k.peers))
		}
		if err := k.peers[0].send(message{kind: "hello"}); err != nil {
			t.Fatal(err)
		}
		if m, err := p.receive(); m.kind != "hello" {
			t.Fatalf("connection %d: got %q, %v, want hello", i+1, m.kind, err)
		}
	}
	k.dropPeer(k.peers[0])
	if k.keepSpare(); k.spare == 0 {
		t.Error("nothing is in reserve")
	}
}

// TestDeafKeeperSleeps: accept(2) fails and the control socket stays readable.
func TestDeafKeeperSleeps(t *testing.T) {
	k := answering(t)
	k.makeRoom() // a successor has what was in reserve
	p := peer(t)
	defer p.close()
	p.connect(t)
	restore := limitFDs(t)
	begin := time.Now()
	k.await() // tries
	restore()
	if len(k.sources()) != 0 {
		t.Fatal("the control socket is still polled")
	}
	k.await() // the time passes
	if took := time.Since(begin); took < deafTime || took > deafTime+time.Second {
		t.Errorf("was deaf for %v, want %v", took, deafTime)
	}
	if k.await(); len(k.peers) != 1 {
		t.Errorf("got %d peers, want 1", len(k.peers))
	}
}

// TestDeadlineComesBeforeStrangers: their connections may never end.
func TestDeadlineComesBeforeStrangers(t *testing.T) {
	k := answering(t)
	k.Generation, k.state, k.deadline = 1, starting, time.Now()
	p := peer(t)
	defer p.close()
	p.connect(t)
	if k.await(); k.state != gone {
		t.Errorf("generation is still %v", k.state)
	}
}

// TestConnectionThatAnotherGenerationTookIsNoFailure: two keepers poll the control
// socket for the time of a commit.
func TestConnectionThatAnotherGenerationTookIsNoFailure(t *testing.T) {
	k := answering(t)
	if k.acceptPeer(k.Control.FD); !k.deafUntil.IsZero() || len(k.said) > 0 {
		t.Errorf("deaf until %v, complaints %v", k.deafUntil, k.said)
	}
}
