package activation_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// role names, in the environment, what the test binary does when a test starts
// it again, with sockets from descriptor 3 on.
const role = "ACTIVATION_TEST_ROLE"

var roles = map[string]func() error{
	"import":    roleImport,
	"inherited": roleInherited,
	"take":      roleTake,
	"restore":   roleRestore,
	"spare":     roleSpare,
}

func TestMain(m *testing.M) {
	r := os.Getenv(role)
	if r == "" {
		startPoller()
		os.Exit(m.Run())
	}
	run, ok := roles[r]
	if !ok {
		fmt.Fprintf(os.Stderr, "unknown role %q\n", r)
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// startPoller makes the runtime open its epoll descriptors now, so that no
// test counts them as its own.
func startPoller() {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	r.Close()
	w.Close()
}

// checkFDs fails the test if it ends with more or fewer descriptors than now.
func checkFDs(t *testing.T) {
	t.Helper()
	before := countFDs(t)
	t.Cleanup(func() {
		if after := countFDs(t); after != before {
			t.Errorf("got %d open descriptors, want %d as before", after, before)
		}
	})
}

func countFDs(t *testing.T) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

func parse(t *testing.T, text string) activation.Spec {
	t.Helper()
	spec, err := activation.ParseSpec(text)
	if err != nil {
		t.Fatalf("parse %q: %v", text, err)
	}
	return spec
}

// bind makes the socket of a spec, for as long as the test runs.
func bind(t *testing.T, text string) activation.Socket {
	t.Helper()
	s, err := activation.Bind(parse(t, text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// systemds is the socket of a spec as if it came from systemd, under name.
func systemds(t *testing.T, name, text string) activation.Socket {
	t.Helper()
	s := bind(t, text)
	return activation.Socket{FD: s.FD, Name: name}
}

// port is the port that a tcp or udp socket is bound to.
func port(t *testing.T, s activation.Socket) int {
	t.Helper()
	sa, err := unix.Getsockname(s.FD)
	if err != nil {
		t.Fatal(err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return sa.Port
	case *unix.SockaddrInet6:
		return sa.Port
	}
	t.Fatalf("socket %q has no port: %T", s.Name, sa)
	return 0
}

// path is for a unix socket: short enough for sun_path, and not there yet.
func path(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "act")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func getInt(t *testing.T, s activation.Socket, level, option int) int {
	t.Helper()
	n, err := unix.GetsockoptInt(s.FD, level, option)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// accepts reports whether a connection to address arrives at the listener.
func accepts(t *testing.T, s activation.Socket, network, address string) bool {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		return false
	}
	defer c.Close()
	p := []unix.PollFd{{Fd: int32(s.FD), Events: unix.POLLIN}}
	if n, err := unix.Poll(p, 10_000); n != 1 || err != nil {
		return false
	}
	fd, _, err := unix.Accept4(s.FD, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	return true
}

func checkMissing(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("%s is there: %v", path, err)
	}
}
