package notify_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// role names, in the environment, what the test binary does when a test starts
// it again. Its arguments follow.
const role = "NOTIFY_TEST_ROLE"

func TestMain(m *testing.M) {
	switch r := os.Getenv(role); r {
	case "":
		startPoller()
		os.Exit(m.Run())
	case "ready": // says READY=1 to $NOTIFY_SOCKET
		if err := sayReady(os.Getenv("NOTIFY_SOCKET")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "witnessed":
		if err := sendWitnessedForever(os.Getenv("MANAGER"), os.Getenv("WITNESS")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		fmt.Fprintf(os.Stderr, "unknown role %q\n", r)
		os.Exit(2)
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

func sayReady(address string) error {
	s, err := notify.Dial(address)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Send(notify.Message{{"READY", "1"}}, soon())
}

// soon is the deadline of what must succeed: generous, and never reached.
func soon() time.Time { return time.Now().Add(30 * time.Second) }

// pair returns a socket and a sender connected to it.
func pair(t *testing.T) (*notify.Socket, *notify.Sender) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "n")
	sock, err := notify.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sock.Close() })
	s, err := notify.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return sock, s
}

// mustReceive waits for a datagram and closes its descriptors with the test.
func mustReceive(t *testing.T, sock *notify.Socket) notify.Datagram {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(sock.FD()), Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(p, 30_000); err != unix.EINTR {
			if n != 1 || err != nil {
				t.Fatalf("no datagram came: %v", err)
			}
			break
		}
	}
	d, err := sock.Receive()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(d.FDs) })
	return d
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// checkFDs fails the test if it ends with more or fewer descriptors than now.
func checkFDs(t *testing.T) {
	t.Helper()
	before := countFDs(t)
	t.Cleanup(func() {
		if after := countFDs(t); after != before {
			t.Errorf("%d descriptors are open, %d were", after, before)
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
