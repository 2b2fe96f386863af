package notify_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

func TestDialRefusesWhatItCannotReach(t *testing.T) {
	checkFDs(t)
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	sock, err := notify.Listen(dead)
	if err != nil {
		t.Fatal(err)
	}
	sock.Close()
	long := "/" + strings.Repeat("x", 107)
	for _, tc := range []struct {
		name, address, want string
		is                  error
	}{
		{"missing", dir + "/none", "connect " + dir + "/none: no such file or directory", fs.ErrNotExist},
		{"dead", dead, "connect " + dead + ": connection refused", unix.ECONNREFUSED},
		{"empty", "", `connect "": neither an absolute path nor an abstract name`, nil},
		{"relative", "run/n", `connect "run/n": neither an absolute path nor an abstract name`, nil},
		{"vsock", "vsock:2:1", `connect "vsock:2:1": neither an absolute path nor an abstract name`, nil},
		{"no abstract name", "@", `connect "@": neither an absolute path nor an abstract name`, nil},
		{"too long", long, `connect "` + long + `": 108 bytes, a socket address holds 107`, nil},
		{"NUL", "/run/\x00", `connect "/run/\x00": NUL inside`, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := notify.Dial(tc.address)
			if err == nil || s != nil {
				t.Fatalf("Dial(%q) = %v, %v", tc.address, s, err)
			}
			if err.Error() != tc.want {
				t.Errorf("got %q, want %q", err, tc.want)
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%q does not wrap %q", err, tc.is)
			}
		})
	}
}

func TestDialReachesAnAbstractName(t *testing.T) {
	name := "@notify-test-" + filepath.Base(filepath.Dir(t.TempDir()))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		t.Fatal(err)
	}
	if err := sayReady(name); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
	if err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("got %q, %v, want %q", b[:n], err, "READY=1")
	}
}

func TestSendPassesDescriptorsAndKeepsTheCallers(t *testing.T) {
	checkFDs(t)
	sock, s := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := s.Send(notify.Message{{"FDSTORE", "1"}}, soon(), int(r.Fd()), int(w.Fd())); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("mine"); err != nil {
		t.Errorf("the caller's descriptor: %v", err)
	}
	w.Close()
	d := mustReceive(t, sock)
	if len(d.FDs) != 2 {
		t.Fatalf("got %d descriptors, want 2", len(d.FDs))
	}
	for _, fd := range d.FDs {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor flags %#x, %v, want close-on-exec", flags, err)
		}
	}
	b := make([]byte, 10)
	if n, err := unix.Read(d.FDs[0], b); err != nil || string(b[:n]) != "mine" {
		t.Errorf("read %q, %v from the passed pipe, want %q", b[:n], err, "mine")
	}
}

func TestSendRefuses(t *testing.T) {
	sock, s := pair(t)
	if err := s.Send(nil, soon()); err == nil || !strings.HasSuffix(err.Error(), ": encode message: no fields") {
		t.Errorf("no fields: got %v", err)
	}
	err := s.Send(notify.Message{{"FDSTORE", "1"}}, soon(), make([]int, 254)...)
	if err == nil || !strings.HasSuffix(err.Error(), ": 254 descriptors, a message holds 253") {
		t.Errorf("254 descriptors: got %v", err)
	}
	if _, err := sock.Receive(); err != notify.ErrEmpty {
		t.Errorf("something was sent: %v", err)
	}
}

// fill sends until the receiver's queue is full.
func fill(t *testing.T, s *notify.Sender) {
	t.Helper()
	for {
		err := s.Send(notify.Message{{"STATUS", "x"}}, time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestSendWaitsForRoomUntilItsDeadline(t *testing.T) {
	sock, s := pair(t)
	fill(t, s)

	start := time.Now()
	err := s.Send(notify.Message{{"READY", "1"}}, start.Add(50*time.Millisecond))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want %v", err, os.ErrDeadlineExceeded)
	}
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("gave up after %v", took)
	}

	done := make(chan error)
	go func() { done <- s.Send(notify.Message{{"READY", "1"}}, soon()) }()
	mustReceive(t, sock)
	if err := <-done; err != nil {
		t.Errorf("with room in the queue: %v", err)
	}
}

func TestReceiverThatLeavesEndsTheWait(t *testing.T) {
	sock, s := pair(t)
	fill(t, s)
	done := make(chan error)
	go func() { done <- s.Send(notify.Message{{"READY", "1"}}, soon()) }()
	sock.Close()
	if err := <-done; !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("got %v, want %v", err, unix.ECONNREFUSED)
	}
}

func TestBarrierWaitsUntilItsDescriptorIsClosed(t *testing.T) {
	checkFDs(t)
	sock, s := pair(t)
	done := make(chan error, 1)
	go func() { done <- s.Barrier(soon()) }()
	d := mustReceive(t, sock)
	if got, want := d.Message.String(), "BARRIER=1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(d.FDs) != 1 {
		t.Fatalf("got %d descriptors, want 1", len(d.FDs))
	}
	// A byte in the pipe is no answer.
	if _, err := unix.Write(d.FDs[0], []byte("x")); err != nil {
		t.Errorf("not the write end: %v", err)
	}
	select {
	case err := <-done:
		t.Errorf("ended before the descriptor was closed: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	unix.Close(d.FDs[0])
	d.FDs[0] = -1
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBarrierEndsAtItsDeadline(t *testing.T) {
	_, s := pair(t)
	checkFDs(t)
	err := s.Barrier(time.Now().Add(20 * time.Millisecond))
	if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(err.Error(), "barrier /") {
		t.Errorf("got %v, want a barrier error that wraps %v", err, os.ErrDeadlineExceeded)
	}
}

func TestClosedSenderSaysSo(t *testing.T) {
	_, s := pair(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(notify.Message{{"READY", "1"}}, soon()); !errors.Is(err, unix.EBADF) {
		t.Errorf("Send: got %v, want %v", err, unix.EBADF)
	}
	if err := s.Close(); !errors.Is(err, unix.EBADF) {
		t.Errorf("Close: got %v, want %v", err, unix.EBADF)
	}
}
