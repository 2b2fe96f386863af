package activation_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// move gathers spec, whose PORT is that of the running socket.
func move(t *testing.T, old activation.Socket, spec string) activation.Socket {
	t.Helper()
	spec = strings.ReplaceAll(spec, "PORT", fmt.Sprint(port(t, old)))
	set := gather(t, []activation.Socket{old}, spec)
	checkSet(t, set, 1, old)
	return set.Bound[0]
}

// loopback is where a client finds the sockets.
func loopback(t *testing.T, s activation.Socket) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", port(t, s))
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pick reports which of two sockets a client reaches.
func pick(t *testing.T, network, address string, old, next activation.Socket) string {
	t.Helper()
	c := dial(t, network, address)
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	fds := []unix.PollFd{{Fd: int32(old.FD), Events: unix.POLLIN}, {Fd: int32(next.FD), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 10_000); n != 1 || err != nil {
		t.Fatalf("%d sockets have something, %v", n, err)
	}
	for i, s := range []activation.Socket{old, next} {
		if fds[i].Revents == 0 {
			continue
		}
		if strings.HasPrefix(network, "tcp") {
			fd, _, err := unix.Accept4(s.FD, unix.SOCK_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(fd)
		} else if _, err := unix.Read(s.FD, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return []string{"old", "next"}[i]
	}
	return ""
}

// TestOverlappingAddressIsBoundBesideTheOldOne: who serves now does so until the
// sockets change over, and from then on the new one does.
func TestOverlappingAddressIsBoundBesideTheOldOne(t *testing.T) {
	for _, c := range []struct{ network, old, next string }{
		{"tcp", "tcp:127.0.0.1:0", "tcp:0.0.0.0:PORT"},
		{"tcp", "tcp:127.0.0.1:0", "tcp::PORT"},
		{"tcp", "tcp4::0", "tcp::PORT"},
		{"tcp", "tcp4::0", "tcp:127.0.0.1:PORT"},
		{"tcp", "tcp::0", "tcp:127.0.0.1:PORT"},
		{"tcp", "tcp::0", "tcp4::PORT"},
		{"tcp", "tcp:127.0.0.1:0?reuseport=yes", "tcp::PORT"},
		{"tcp", "tcp:127.0.0.1:0", "tcp::PORT?reuseport=yes"},
		{"udp", "udp:127.0.0.1:0", "udp::PORT"},
		{"udp", "udp::0", "udp:127.0.0.1:PORT"},
	} {
		t.Run(c.old+" to "+c.next, func(t *testing.T) {
			old := bind(t, c.old)
			options := reusePort(t, old)
			next := move(t, old, c.next)
			address := loopback(t, old)
			if got := pick(t, c.network, address, old, next); got != "old" {
				t.Errorf("before the change: the %s one gets connections", got)
			}
			for s, want := range map[activation.Socket]int{old: options, next: onlyIf(strings.Contains(c.next, "reuseport"))} {
				if got := reusePort(t, s); got != want {
					t.Errorf("%s: SO_REUSEPORT is %d, want %d", s.Spec, got, want)
				}
				if got := owner(t, s); got != os.Geteuid() {
					t.Errorf("%s: belongs to user %d", s.Spec, got)
				}
			}
			changeOver(t, old, next)
			if got := pick(t, c.network, address, old, next); got != "next" {
				t.Errorf("after the change: the %s one gets connections", got)
			}
		})
	}
}

func onlyIf(b bool) int {
	if b {
		return 1
	}
	return 0
}

func reusePort(t *testing.T, s activation.Socket) int {
	t.Helper()
	return getInt(t, s, unix.SOL_SOCKET, unix.SO_REUSEPORT)
}

func owner(t *testing.T, s activation.Socket) int {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(s.FD, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Uid)
}

func changeOver(t *testing.T, old, next activation.Socket) {
	t.Helper()
	if err := errors.Join(next.Show(), old.Hide()); err != nil {
		t.Fatal(err)
	}
}

// TestNothingElseIsMovedFor: a socket that stays, one of systemd's, another protocol and
// another address are in nobody's way, or in the way as always.
func TestNothingElseIsMovedFor(t *testing.T) {
	old := bind(t, "old=tcp:127.0.0.1:0")
	p := fmt.Sprint(port(t, old))
	for name, c := range map[string]struct {
		specs     []string
		inherited activation.Socket
	}{
		"declared still": {[]string{"old=tcp:127.0.0.1:" + p, "new=tcp::" + p}, old},
		"systemd's":      {[]string{"new=tcp::" + p}, activation.Socket{FD: old.FD, Name: "old"}},
	} {
		checkFDs(t)
		_, err := activation.Gather(parseAll(t, c.specs...), []activation.Socket{c.inherited})
		if !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("%s: got %v, want %v", name, err, unix.EADDRINUSE)
		}
	}
	if got := move(t, old, "tcp:127.0.0.2:PORT"); getInt(t, got, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX) != 0 {
		t.Error("hidden, though at another address")
	}
}

// TestNobodyGetsInBeside: not while a socket is bound beside another one, nor later,
// however that one asks: also not as the same user, if that is root.
func TestNobodyGetsInBeside(t *testing.T) {
	needsRoot(t)
	old := bind(t, "tcp:127.0.0.1:0")
	spec := parse(t, fmt.Sprintf("tcp:0.0.0.0:%d", port(t, old)))
	next, done, err := activation.MakeRoom(spec, old)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	getIn := func(when string) {
		t.Helper()
		for _, at := range []string{"0.0.0.0", "127.0.0.1"} {
			for _, option := range []string{"", "?reuseport=yes"} {
				text := fmt.Sprintf("tcp:%s:%d%s", at, port(t, old), option)
				if s, err := activation.Bind(parse(t, text)); err == nil {
					s.Close()
					t.Errorf("%s: %s got in", when, text)
				}
			}
		}
	}
	getIn("before the bind")
	if err := activation.BindIn(spec, next); err != nil {
		t.Fatal(err)
	}
	getIn("before the end")
	done()
	getIn("afterwards")
}

// TestKilledMoveIsPutBack: what makes room is put back by whoever has foreseen it.
func TestKilledMoveIsPutBack(t *testing.T) {
	old := bind(t, "tcp:127.0.0.1:0")
	spec := parse(t, fmt.Sprintf("tcp::%d", port(t, old)))
	foreseen := activation.Foresee([]activation.Spec{spec}, []activation.Socket{old})
	next, _, err := activation.MakeRoom(spec, old) // and is dead
	if err != nil {
		t.Fatal(err)
	}
	next.Close()
	if reusePort(t, old) == 0 {
		t.Fatal("no room was made")
	}
	foreseen.PutBack()
	if got, uid := reusePort(t, old), owner(t, old); got != 0 || uid != os.Geteuid() {
		t.Errorf("SO_REUSEPORT is %d, the owner user %d", got, uid)
	}
}

// TestHiddenSocketKeepsItsQueue: who waits to be accepted is, and nobody else gets in.
func TestHiddenSocketKeepsItsQueue(t *testing.T) {
	s := bind(t, "tcp:127.0.0.1:0")
	address := loopback(t, s)
	waiting := dial(t, "tcp", address)
	defer waiting.Close()
	if err := s.Hide(); err != nil {
		t.Fatal(err)
	}
	if accepts(t, s, "tcp", address) {
		t.Error("a hidden socket gets connections")
	}
	accepted := make(chan error)
	go func() {
		time.Sleep(20 * time.Millisecond) // for as long as a server has better things to do
		fd, _, err := unix.Accept4(s.FD, unix.SOCK_CLOEXEC)
		unix.Close(fd)
		accepted <- err
	}()
	start := time.Now()
	activation.AwaitQuiet([]activation.Socket{s}, start.Add(10*time.Second))
	took := time.Since(start)
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	if took < 20*time.Millisecond || took > 5*time.Second {
		t.Errorf("waited for %v, the queue was empty after 20 ms", took)
	}
}

func TestAwaitQuietGivesUp(t *testing.T) {
	s := bind(t, "tcp:127.0.0.1:0")
	defer dial(t, "tcp", loopback(t, s)).Close()
	start := time.Now()
	activation.AwaitQuiet([]activation.Socket{s}, start.Add(50*time.Millisecond))
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("waited for %v while a connection waited", took)
	}
}

// TestShowKeepsTheDevice: a socket that is shown is bound to its own interface again.
func TestShowKeepsTheDevice(t *testing.T) {
	needsRoot(t)
	s := bind(t, "tcp:127.0.0.1:0?device=lo")
	if err := errors.Join(s.Hide(), s.Show()); err != nil {
		t.Fatal(err)
	}
	if !accepts(t, s, "tcp", loopback(t, s)) {
		t.Error("it gets no connections")
	}
	if got := getInt(t, s, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX); got != 1 {
		t.Errorf("bound to interface %d, want 1, lo", got)
	}
}
