package activation_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// stale leaves the file of a socket that nobody holds.
func stale(t *testing.T, text string) {
	t.Helper()
	s, err := activation.Bind(parse(t, text))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestStaleSocketIsReplaced(t *testing.T) {
	for _, network := range []string{"unix", "unixgram", "unixpacket"} {
		at := path(t)
		text := network + ":" + at
		stale(t, text)
		s := bind(t, text)
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			t.Fatal(err)
		}
		if st.Ino != s.Ino || uint64(st.Dev) != s.Dev {
			t.Errorf("%s: got file %d:%d, want %d:%d as at the path", network, s.Dev, s.Ino, st.Dev, st.Ino)
		}
		c, err := net.Dial(network, at)
		if err != nil {
			t.Errorf("%s: %v", network, err)
			continue
		}
		c.Close()
	}
}

// TestFileThatIsNoSocketStays: invariant I8.
func TestFileThatIsNoSocketStays(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"regular file":  func(p string) error { return os.WriteFile(p, []byte("precious"), 0o600) },
		"directory":     func(p string) error { return os.Mkdir(p, 0o700) },
		"FIFO":          func(p string) error { return unix.Mkfifo(p, 0o600) },
		"dangling link": func(p string) error { return os.Symlink("nowhere", p) },
	} {
		at := path(t)
		if err := put(at); err != nil {
			t.Fatal(err)
		}
		before, err := os.Lstat(at)
		if err != nil {
			t.Fatal(err)
		}
		checkFDs(t)
		_, err = activation.Bind(parse(t, "unix:"+at))
		if err == nil || !strings.Contains(err.Error(), "listen unix:"+at+": the file at this path is no socket") {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
		if after, err := os.Lstat(at); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s is not there any more: %v", name, err)
		}
	}
}

// TestLinkToAStaleSocketStays: invariant I8.
func TestLinkToAStaleSocketStays(t *testing.T) {
	at, target := path(t), path(t)
	stale(t, "unix:"+target)
	if err := os.Symlink(target, at); err != nil {
		t.Fatal(err)
	}
	if _, err := activation.Bind(parse(t, "unix:"+at)); err == nil {
		t.Error("bound through a symbolic link")
	}
	for _, p := range []string{at, target} {
		if _, err := os.Lstat(p); err != nil {
			t.Error(err)
		}
	}
}

// TestSocketOfSomebodyElseIsRefusedAndWorksOn: invariant I8.
func TestSocketOfSomebodyElseIsRefusedAndWorksOn(t *testing.T) {
	for _, network := range []string{"unix", "unixpacket"} {
		at := path(t)
		l, err := net.Listen(network, at)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for _, other := range []string{"unix", "unixgram", "unixpacket"} {
			_, err := activation.Bind(parse(t, other+":"+at))
			if err == nil || !strings.Contains(err.Error(), "another process listens here") {
				t.Errorf("%s at a %s socket: got %v, want it refused", other, network, err)
			}
		}
		c, err := net.Dial(network, at)
		if err != nil {
			t.Errorf("%s: %v", network, err)
			continue
		}
		c.Close()
	}
}

// TestDatagramSocketOfSomebodyElseIsRefusedAndWorksOn: invariant I8.
func TestDatagramSocketOfSomebodyElseIsRefusedAndWorksOn(t *testing.T) {
	at := path(t)
	p, err := net.ListenPacket("unixgram", at)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, network := range []string{"unix", "unixgram", "unixpacket"} {
		if _, err := activation.Bind(parse(t, network+":"+at)); err == nil {
			t.Errorf("%s took the path", network)
		}
	}
	c, err := net.Dial("unixgram", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Error(err)
	}
}

// TestSocketWithAFullQueueIsNotStale: invariant I8.
func TestSocketWithAFullQueueIsNotStale(t *testing.T) {
	at := path(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: at}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for full := false; !full; {
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(c)
		full = unix.Connect(c, &unix.SockaddrUnix{Name: at}) == unix.EAGAIN
	}
	if _, err := activation.Bind(parse(t, "unix:"+at)); err == nil || !strings.Contains(err.Error(), "another process listens here") {
		t.Errorf("got %v, want it refused", err)
	}
}

func TestMissingDirectoryIsRefused(t *testing.T) {
	checkFDs(t)
	at := filepath.Join(filepath.Dir(path(t)), "missing", "s")
	if _, err := activation.Bind(parse(t, "unix:"+at)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
	checkMissing(t, filepath.Dir(at))
}

// TestUnlinkRemovesOnlyOurOwnFile: invariant I8, by path, device and inode.
func TestUnlinkRemovesOnlyOurOwnFile(t *testing.T) {
	at := path(t)
	s := bind(t, "unix:"+at)
	if err := os.Rename(at, at+".old"); err != nil {
		t.Fatal(err)
	}
	s.Unlink() // the path is free: nothing to remove
	other := bind(t, "unix:"+at)
	s.Unlink()
	if _, err := os.Lstat(at); err != nil {
		t.Fatalf("the other socket's file is gone: %v", err)
	}
	activation.Socket{FD: other.FD, Name: "x"}.Unlink() // as inherited from systemd
	activation.Socket{FD: other.FD, Name: "x", Spec: other.Spec}.Unlink()
	activation.Socket{FD: other.FD, Name: "x", Spec: other.Spec, Dev: other.Dev + 1, Ino: other.Ino}.Unlink()
	if _, err := os.Lstat(at); err != nil {
		t.Fatalf("a file that is not known to be ours is gone: %v", err)
	}
	other.Unlink()
	checkMissing(t, at)
	other.Unlink() // again: nothing happens
}

func TestUnlinkOfASocketWithoutFileDoesNothing(t *testing.T) {
	for _, text := range []string{"tcp:127.0.0.1:0", "unix:@" + t.Name()} {
		s := bind(t, text)
		s.Unlink()
		if f, err := unix.FcntlInt(uintptr(s.FD), unix.F_GETFD, 0); err != nil {
			t.Errorf("%s: descriptor: %d, %v", text, f, err)
		}
	}
}

// TestPlaceIsTidiedOfWhatADeadProcessBound: invariant I2, for a launcher that is
// killed when it has bound and nobody knows yet; I8 for everything else.
func TestPlaceIsTidiedOfWhatADeadProcessBound(t *testing.T) {
	for name, c := range map[string]struct {
		before, after func(t *testing.T, text, at string)
		stays         bool
	}{
		"nothing, then a dead socket":        {nil, func(t *testing.T, text, _ string) { stale(t, text) }, false},
		"nothing, then nothing":              {nil, nil, false},
		"nothing, then a live socket":        {nil, func(t *testing.T, text, _ string) { bind(t, text) }, true},
		"a dead socket that stays":           {func(t *testing.T, text, _ string) { stale(t, text) }, nil, true},
		"nothing, then a file of somebody's": {nil, func(t *testing.T, _, at string) { write(t, at) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			at := path(t)
			text := "unix:" + at
			if c.before != nil {
				c.before(t, text, at)
			}
			p, ok := activation.LookAt(parse(t, text))
			if !ok {
				t.Error("the spec has no path")
			}
			if c.after != nil {
				c.after(t, text, at)
			}
			err := p.Tidy()
			if _, lerr := os.Lstat(at); (lerr == nil) != c.stays {
				t.Errorf("the path: %v, Tidy: %v, want it there: %v", lerr, err, c.stays)
			}
		})
	}
	for _, text := range []string{"tcp::80", "unix:@abstract"} {
		if _, ok := activation.LookAt(parse(t, text)); ok {
			t.Errorf("%s has a path", text)
		}
	}
}

func write(t *testing.T, at string) {
	t.Helper()
	if err := os.WriteFile(at, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
}
