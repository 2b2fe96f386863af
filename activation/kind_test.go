package activation_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// TestVsock: where the kernel has none, that is said.
func TestVsock(t *testing.T) {
	checkFDs(t)
	for _, c := range []struct {
		text string
		none []error
	}{
		{"vsock::9123?backlog=9", []error{unix.EAFNOSUPPORT, unix.ENODEV}},
		{"vsockgram::9123", []error{unix.EAFNOSUPPORT, unix.ENODEV, unix.ESOCKTNOSUPPORT, unix.EOPNOTSUPP}},
	} {
		s, err := activation.Bind(parse(t, c.text))
		if err != nil {
			if !slices.ContainsFunc(c.none, func(e error) bool { return errors.Is(err, e) }) || !strings.HasPrefix(err.Error(), "listen "+c.text+": ") {
				t.Errorf("%s: got %v", c.text, err)
			}
			t.Log(err)
			continue
		}
		defer s.Close()
		sa, err := unix.Getsockname(s.FD)
		if vm, ok := sa.(*unix.SockaddrVM); err != nil || !ok || vm.CID != 1<<32-1 || vm.Port != 9123 {
			t.Errorf("%s: bound to %+v, %v", c.text, sa, err)
		}
		checkFlags(t, s)
		inherited := activation.Socket{FD: s.FD, Name: "guest"}
		bare, _, _ := strings.Cut(c.text, "?")
		checkSet(t, gather(t, []activation.Socket{inherited}, bare), 0)
		checkSet(t, gather(t, []activation.Socket{inherited}, "vsock::9124"), 1)
	}
}

func TestNetlink(t *testing.T) {
	s := bind(t, "netlink:kobject-uevent:1?rcvbuf=1M")
	if got := getInt(t, s, unix.SOL_SOCKET, unix.SO_PROTOCOL); got != unix.NETLINK_KOBJECT_UEVENT {
		t.Errorf("family: got %d, want %d", got, unix.NETLINK_KOBJECT_UEVENT)
	}
	sa, err := unix.Getsockname(s.FD)
	if nl, ok := sa.(*unix.SockaddrNetlink); err != nil || !ok || nl.Groups != 1 {
		t.Errorf("bound to %+v, %v, want group 1", sa, err)
	}
	checkFlags(t, s)
	inherited := []activation.Socket{{FD: s.FD, Name: "uevent"}}
	checkSet(t, gather(t, inherited, "netlink:15:1"), 0)
	checkSet(t, gather(t, inherited, "netlink:kobject-uevent:2"), 1)
	checkSet(t, gather(t, inherited, "netlink:route"), 1)
}

func TestFIFO(t *testing.T) {
	at := path(t)
	s := bind(t, "fifo:"+at+"?mode=0620&pipesize=128K")
	checkFlags(t, s)
	if st, err := os.Lstat(at); err != nil || st.Mode() != fs.ModeNamedPipe|0o620 {
		t.Errorf("got %v, %v", st, err)
	}
	for range 2 { // the last writer's end is not the reader's
		if err := os.WriteFile(at, []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		if n, err := unix.Read(s.FD, make([]byte, 9)); n != 1 || err != nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
		if _, err := unix.Read(s.FD, make([]byte, 9)); err != unix.EAGAIN {
			t.Errorf("then: got %v, want %v", err, unix.EAGAIN)
		}
	}
	checkSet(t, gather(t, []activation.Socket{{FD: s.FD, Name: "of systemd"}}, "fifo:"+at), 0)
	if _, err := activation.Bind(parse(t, "fifo:"+at)); err == nil || !strings.Contains(err.Error(), "another process reads here") {
		t.Errorf("a second reader: got %v, want it refused", err)
	}
	s.Unlink()
	checkMissing(t, at)
	checkSet(t, gather(t, []activation.Socket{s}, "fifo:"+at), 1, s)
}

// TestFIFOThatIsThereIsUsedAndStays: invariant I8.
func TestFIFOThatIsThereIsUsedAndStays(t *testing.T) {
	at := path(t)
	if err := unix.Mkfifo(at, 0o640); err != nil {
		t.Fatal(err)
	}
	s := bind(t, "fifo:"+at)
	if s.Ino != 0 {
		t.Error("it passes for ours")
	}
	s.Unlink()
	if st, err := os.Lstat(at); err != nil || st.Mode() != fs.ModeNamedPipe|0o640 {
		t.Errorf("got %v, %v", st, err)
	}
}

// TestFileThatIsNoFIFOStays: invariant I8.
func TestFileThatIsNoFIFOStays(t *testing.T) {
	at, link := path(t), path(t)
	write(t, at)
	if err := os.Symlink(at, link); err != nil {
		t.Fatal(err)
	}
	checkFDs(t)
	for _, p := range []string{at, link} {
		if _, err := activation.Bind(parse(t, "fifo:"+p)); err == nil || !strings.Contains(err.Error(), "is no FIFO and stays") {
			t.Errorf("got %v, want it refused", err)
		}
		if _, err := os.Lstat(p); err != nil {
			t.Error(err)
		}
	}
	if os.Geteuid() == 0 {
		if err := errors.Join(os.Remove(at), unix.Mkfifo(at, 0o666), os.Chown(at, 4242, 4242)); err != nil {
			t.Fatal(err)
		}
		if _, err := activation.Bind(parse(t, "fifo:"+at)); err == nil || !strings.Contains(err.Error(), "is another user's") {
			t.Errorf("another user's: got %v, want it refused", err)
		}
	}
}

func TestSpecialFile(t *testing.T) {
	s := bind(t, "special:/dev/null")
	if s.Ino != 0 {
		t.Error("it passes for ours")
	}
	s.Unlink()
	checkFlags(t, s)
	checkSet(t, gather(t, []activation.Socket{{FD: s.FD, Name: "null"}}, "special:/dev/null"), 0)
	checkSet(t, gather(t, []activation.Socket{{FD: s.FD, Name: "null"}}, "special:/dev/zero"), 1)
	checkFDs(t)
	for text, want := range map[string]string{
		"special:" + filepath.Dir(path(t)): "is neither a device nor a file of /proc or /sys",
		"special:" + path(t):               "no such file",
		"special:/proc/self":               "too many levels of symbolic links",
	} {
		if _, err := activation.Bind(parse(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// TestOtherPortNumbersAreOtherSockets: of UDP-Lite, and not of MPTCP.
func TestOtherPortNumbersAreOtherSockets(t *testing.T) {
	lite, err := activation.Bind(parse(t, "udp:127.0.0.1:0?protocol=udplite"))
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer lite.Close()
	inherited := []activation.Socket{{FD: lite.FD, Name: "dns"}}
	checkSet(t, gather(t, inherited, "dns=udp:127.0.0.1:0"), 1)
	checkSet(t, gather(t, inherited, "dns=udp:127.0.0.1:0?protocol=udplite"), 0)
}

// TestEveryKindOfDescriptorKeepsItsName: whatever systemd passes, message queues among
// it, goes on to the server.
func TestEveryKindOfDescriptorKeepsItsName(t *testing.T) {
	var pair [2]int
	if err := unix.Pipe2(pair[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	inherited := []activation.Socket{{FD: pair[0], Name: "reader"}, {FD: pair[1], Name: "writer"},
		{FD: event, Name: "event"}, {FD: timer, Name: "timer"}, {FD: memory, Name: "stored"},
		systemds(t, "netlink", "netlink:route"), systemds(t, "unix", "unix:@kinds"), systemds(t, "null", "special:/dev/null")}
	for _, s := range inherited[:5] {
		defer s.Close()
	}
	want := append([]string{"event", "unix"}, "reader", "writer", "event", "timer", "stored", "netlink", "null")
	set := gather(t, inherited, "event=tcp:127.0.0.1:0", "unix:@kinds")
	if got := names(set.Sockets); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	checkSet(t, set, 1)
}

// TestPlaceIsTidiedOfAFIFO: as of a socket that a dead process bound.
func TestPlaceIsTidiedOfAFIFO(t *testing.T) {
	at := path(t)
	p, ok := activation.LookAt(parse(t, "fifo:"+at))
	if !ok {
		t.Fatal("the spec has no path")
	}
	s := bind(t, "fifo:"+at)
	if err := p.Tidy(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(at); err != nil {
		t.Errorf("somebody reads it, and it is gone: %v", err)
	}
	fd, err := unix.Dup(s.FD)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	unix.Close(fd)
	if err := p.Tidy(); err != nil {
		t.Error(err)
	}
	checkMissing(t, at)
}
