package activation_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// kept is the socket of a spec as the manager gives it back at the next start.
func kept(t *testing.T, text string) activation.Socket {
	t.Helper()
	s := bind(t, text)
	return activation.Socket{FD: s.FD, Name: s.StoreName()}
}

// checkRestored wants exactly the one socket to be that of the spec.
func checkRestored(t *testing.T, spec string, s activation.Socket) activation.Socket {
	t.Helper()
	got, dropped := activation.Restore(parseAll(t, spec), []activation.Socket{s})
	if len(got) != 1 || len(dropped) != 0 {
		t.Fatalf("%s: got %q, and dropped %q", spec, names(got), names(dropped))
	}
	if got[0].FD != s.FD || got[0].Spec != spec || got[0].Stored != s.Name {
		t.Errorf("%s: got %+v", spec, got[0])
	}
	set := gather(t, got, spec)
	checkSet(t, set, 0)
	if len(set.Changed) != 0 {
		t.Errorf("%s: %d options are to change yet", spec, len(set.Changed))
	}
	return got[0]
}

func checkDropped(t *testing.T, spec string, s activation.Socket) {
	t.Helper()
	got, dropped := activation.Restore(parseAll(t, spec), []activation.Socket{s})
	if len(got) != 0 || len(dropped) != 1 || dropped[0].FD != s.FD || dropped[0].Stored != s.Name {
		t.Errorf("%s: got %+v, and dropped %+v", spec, got, dropped)
	}
}

// TestKeptSocketIsOursAgain: of every kind, under the name that the spec gives it.
func TestKeptSocketIsOursAgain(t *testing.T) {
	for _, c := range []struct{ was, is string }{
		{"a=tcp:127.0.0.1:0", "a=tcp:127.0.0.1:0"},
		{"a=tcp:127.0.0.1:0", "b=tcp:127.0.0.1:PORT"},
		{"tcp::0", "tcp::0"},
		{"udp:[::1]:0", "a=udp6:[::1]:PORT"},
		{"a=udp:127.0.0.1:0", "a=udp:127.0.0.1:0"},
		{"unix:PATH", "app=unix:PATH"},
		{"unixgram:PATH", "unixgram:PATH"},
		{"unixpacket:PATH", "unixpacket:PATH"},
		{"unix:@kept", "a=unix:@kept"},
		{"netlink:route:1", "netlink:route:1"},
		{"fifo:PATH", "in=fifo:PATH"},
		{"v=vsock::1024", "v=vsock::1024"},
		{strings.Repeat("n", 255) + "=tcp:127.0.0.1:0", strings.Repeat("n", 255) + "=tcp:127.0.0.1:0"},
	} {
		at := path(t)
		s := kept(t, strings.ReplaceAll(c.was, "PATH", at))
		if !strings.HasPrefix(s.Name, "flipexec=") || len(s.Name) > 255 {
			t.Errorf("%s: got name %q of %d bytes", c.was, s.Name, len(s.Name))
		}
		is := strings.ReplaceAll(c.is, "PATH", at)
		if strings.Contains(is, "PORT") {
			is = strings.ReplaceAll(is, "PORT", fmt.Sprint(port(t, s)))
		}
		got := checkRestored(t, is, s)
		if want, _, ok := strings.Cut(is, "="); ok && got.Name != want || !ok && got.Name != activation.Unnamed {
			t.Errorf("%s: got name %q", is, got.Name)
		}
		if got.Unlink(); strings.Contains(is, at) {
			checkMissing(t, at) // it is known by device and inode
		}
	}
}

// TestKeptSocketThatIsNotAsDeclaredIsDropped, and with it what is no socket of ours.
func TestKeptSocketThatIsNotAsDeclaredIsDropped(t *testing.T) {
	at := path(t)
	tcp, app := kept(t, "a=tcp:127.0.0.1:0"), kept(t, "app=unix:"+at)
	for _, spec := range []string{
		"a=tcp:127.0.0.2:0", "b=tcp:127.0.0.1:0", "a=udp:127.0.0.1:0", "a=tcp6::0", "a=tcp::0",
		fmt.Sprintf("a=tcp:127.0.0.1:%d", port(t, tcp)+1), "a=unix:" + at,
	} {
		checkDropped(t, spec, tcp)
	}
	for _, spec := range []string{"app=unix:" + at + "2", "app=unixgram:" + at, "app=tcp::80"} {
		checkDropped(t, spec, app)
	}
	for _, name := range []string{
		app.Name, // another socket's
		"flipexec=", "flipexec=1,2,3", "flipexec=x,0,0=a", "flipexec=1,0=a", strings.Replace(tcp.Name, "=", "=0", 1),
		strings.Replace(tcp.Name, ",0,0=", ",0,00=", 1),
	} {
		checkDropped(t, "a=tcp:127.0.0.1:0", activation.Socket{FD: tcp.FD, Name: name})
	}
	if _, err := os.Lstat(at); err != nil {
		t.Errorf("a path is gone: %v", err)
	}
}

// TestKeptSocketThatNoClientReachesIsDropped: its path is gone or another's, or a server
// has shut it down.
func TestKeptSocketThatNoClientReachesIsDropped(t *testing.T) {
	for _, network := range []string{"unix", "unixpacket", "tcp"} {
		spec := network + ":127.0.0.1:0"
		if network != "tcp" {
			spec = network + ":" + path(t)
		}
		s := kept(t, spec)
		checkRestored(t, spec, s)
		if err := unix.Shutdown(s.FD, unix.SHUT_RDWR); err != nil {
			t.Fatal(err)
		}
		checkDropped(t, spec, s)
	}
	at := path(t)
	s := kept(t, "unix:"+at)
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	checkDropped(t, "unix:"+at, s)
	bind(t, "unix:"+at)
	checkDropped(t, "unix:"+at, s)
}

// TestTwoKeptSocketsOfOneSpec: the one at the path is taken, in whatever order they come.
func TestTwoKeptSocketsOfOneSpec(t *testing.T) {
	at := path(t)
	text := "unix:" + at
	first := kept(t, text)
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	second, other := kept(t, text), systemds(t, "web.socket", "tcp:127.0.0.1:0")
	for range 2 {
		first, second := first, second
		sockets := []activation.Socket{other, first, second}
		slices.Reverse(sockets[1:])
		got, dropped := activation.Restore(parseAll(t, text, "tcp:127.0.0.1:0"), sockets)
		if !slices.Equal(fds(got), []int{other.FD, second.FD}) || !slices.Equal(fds(dropped), []int{first.FD}) {
			t.Errorf("got %d, and dropped %d, want %d, and %d", fds(got), fds(dropped), second.FD, first.FD)
		}
		if got[0] != other {
			t.Errorf("systemd's socket: got %+v, want %+v", got[0], other)
		}
	}
}

// TestKeptSocketTakesTheOptionsOfItsSpec, whatever they were; what only a new socket
// takes makes it another one.
func TestKeptSocketTakesTheOptionsOfItsSpec(t *testing.T) {
	needsRoot(t)
	for _, c := range samples {
		t.Run(c.option+" "+c.socket, func(t *testing.T) {
			checkFDs(t)
			bare := strings.ReplaceAll(c.socket, "PATH", path(t))
			one, two := bare+"?"+c.option+"="+c.one, bare+"?"+c.option+"="+c.two
			s := kept(t, one)
			for _, step := range []struct{ spec, want string }{{two, c.twoIs}, {one, c.oneIs}, {bare, c.none}} {
				if c.option == "reuseport" && step.want == "0" {
					checkDropped(t, step.spec, s) // it cannot be switched off
					continue
				}
				checkRestored(t, step.spec, s)
				if got := now(t, s, bare, c.option); got != step.want && step.want != "" {
					t.Errorf("%s: got %s, want %s", step.spec, got, step.want)
				}
			}
		})
	}
	for _, c := range []struct{ was, is string }{
		{"a=tcp::0", "a=tcp::0?v6only=yes"},
		{"a=tcp:127.0.0.1:0", "a=tcp:127.0.0.1:0?protocol=mptcp"},
		{"a=tcp:127.0.0.1:0", "a=tcp:127.0.0.1:0?device=nosuch"},
		{"a=tcp:127.0.0.1:0", "a=tcp:127.0.0.1:0?congestion=nosuch"},
	} {
		checkDropped(t, c.is, kept(t, c.was))
	}
}

// TestKeptSocketBlocksAsItsSpecSays: a server may have changed that, which is no reason to
// lose what waits in the queue.
func TestKeptSocketBlocksAsItsSpecSays(t *testing.T) {
	for _, c := range []struct {
		was, is, want string
		changed       bool // to non-blocking
	}{
		{"tcp:127.0.0.1:0", "tcp:127.0.0.1:PORT", "1", false},
		{"tcp:127.0.0.1:0?nonblocking=no", "tcp:127.0.0.1:PORT?nonblocking=no", "0", true},
		{"unix:PATH", "unix:PATH?nonblocking=no", "0", true},
	} {
		at := path(t)
		s := kept(t, strings.ReplaceAll(c.was, "PATH", at))
		if err := unix.SetNonblock(s.FD, c.changed); err != nil {
			t.Fatal(err)
		}
		is := strings.ReplaceAll(c.is, "PATH", at)
		if strings.Contains(is, "PORT") {
			is = strings.ReplaceAll(is, "PORT", fmt.Sprint(port(t, s)))
		}
		if got := now(t, checkRestored(t, is, s), is, "nonblocking"); got != c.want {
			t.Errorf("%s: nonblocking is %s, want %s", is, got, c.want)
		}
	}
}

// TestKeptSocketOfAnotherNetworkIsDropped: with PrivateNetwork= the unit has moved, and
// its server must not listen where it did.
func TestKeptSocketOfAnotherNetworkIsDropped(t *testing.T) {
	needsRoot(t)
	for _, text := range []string{"a=tcp:127.0.0.1:0", "unix:@kept", "unix:" + path(t)} {
		s := kept(t, text)
		want := "dropped"
		if strings.Contains(text, "/") {
			want = "kept"
		}
		out, err := inRole(t, "restore", []activation.Socket{s}, "SPEC="+text, "NAME="+s.Name)
		if err != nil || out != want {
			t.Errorf("%s: got %q, %v, want %q", text, out, err, want)
		}
	}
}

// roleRestore prints what becomes of a socket in another network namespace.
func roleRestore() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	spec, err := activation.ParseSpec(os.Getenv("SPEC"))
	if err != nil {
		return err
	}
	kept, _ := activation.Restore([]activation.Spec{spec}, []activation.Socket{{FD: activation.FirstFD, Name: os.Getenv("NAME")}})
	if len(kept) > 0 {
		fmt.Println("kept")
	} else {
		fmt.Println("dropped")
	}
	return nil
}

// FuzzStoreName: what the manager is to keep a socket under is a name for systemd, and
// tells the same at the next start; everything else is refused. Invariant I10.
func FuzzStoreName(f *testing.F) {
	f.Add(uint64(1), uint64(0), uint64(0), "http", "flipexec=1,0,0=http")
	f.Add(uint64(1<<64-1), uint64(1<<63), uint64(5), strings.Repeat("n", 255), "flipexec=1,0,0=")
	f.Add(uint64(7), uint64(8), uint64(9), "a=b,c", "flipexec=01,0,0=a")
	f.Add(uint64(0), uint64(0), uint64(0), "", "flipexec=1,0,0,0=a")
	f.Fuzz(func(t *testing.T, socket, dev, ino uint64, name, text string) {
		s := activation.StoreNameOf(socket, dev, ino, name)
		gotSocket, gotDev, gotIno, gotName, ok := activation.ParseStoreName(s)
		if !ok || gotSocket != socket || gotDev != dev || gotIno != ino || !strings.HasPrefix(name, gotName) || len(s) > 255 {
			t.Fatalf("%q is %d, %d, %d, %q, %v", s, gotSocket, gotDev, gotIno, gotName, ok)
		}
		if socket, dev, ino, name, ok := activation.ParseStoreName(text); ok && activation.StoreNameOf(socket, dev, ino, name) != text {
			t.Fatalf("%q is taken for another one", text)
		}
	})
}

// TestOnlyWhatBindMadeIsStored: systemd has its own sockets, and anybody can open a
// special file again.
func TestOnlyWhatBindMadeIsStored(t *testing.T) {
	for _, s := range []activation.Socket{systemds(t, "x", "tcp:127.0.0.1:0"), bind(t, "special:/dev/null"), {FD: -1, Spec: "tcp::80"}} {
		if got := s.StoreName(); got != "" {
			t.Errorf("%+v: got %q", s, got)
		}
	}
}
