package notify_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

func TestListenIsOpenToEveryUserWhateverTheUmask(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	path := filepath.Join(t.TempDir(), "n")
	sock, err := notify.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fi.Mode(), fs.ModeSocket|0o666; got != want {
		t.Errorf("got mode %v, want %v", got, want)
	}
}

func TestListenRefuses(t *testing.T) {
	checkFDs(t)
	dir := t.TempDir()
	taken := filepath.Join(dir, "taken")
	if err := os.WriteFile(taken, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, path, want string
	}{
		{"a path in use", taken, "listen " + taken + ": address already in use"},
		{"a missing directory", dir + "/none/n", "listen " + dir + "/none/n: no such file or directory"},
		{"a relative path", "n", `listen "n": neither an absolute path nor an abstract name`},
		{"an abstract name", "@n", `listen "@n": neither an absolute path nor an abstract name`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sock, err := notify.Listen(tc.path)
			if sock != nil || err == nil || err.Error() != tc.want {
				t.Errorf("Listen = %v, %v, want the error %q", sock, err, tc.want)
			}
		})
	}
	if got, err := os.ReadFile(taken); string(got) != "mine" {
		t.Errorf("what was there reads %q, %v", got, err)
	}
}

// TestReceiveNamesTheSendingProcess: what invariant I9 stands on.
func TestReceiveNamesTheSendingProcess(t *testing.T) {
	dir := t.TempDir()
	// Another user must be able to reach the socket: t.TempDir is 0700 above it.
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "n")
	sock, err := notify.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()

	uid := uint32(os.Geteuid())
	// The test binary may lie where only we can reach it.
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"=ready", "NOTIFY_SOCKET="+path)
	if uid == 0 {
		uid = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sender: %v\n%s", err, out)
	}

	d := mustReceive(t, sock)
	if got, want := d.Message.String(), "READY=1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if d.PID != cmd.Process.Pid || d.UID != uid {
		t.Errorf("got pid %d, uid %d, want %d, %d", d.PID, d.UID, cmd.Process.Pid, uid)
	}
}

func TestReceiveEmptiesTheQueueInOrder(t *testing.T) {
	sock, s := pair(t)
	for i := range 3 {
		if err := s.Send(notify.Message{{"N", fmt.Sprint(i)}}, soon()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		d := mustReceive(t, sock)
		if !d.Message.Is("N", fmt.Sprint(i)) || d.FDs != nil {
			t.Errorf("datagram %d: got %q with descriptors %v", i, d.Message, d.FDs)
		}
	}
	if _, err := sock.Receive(); err != notify.ErrEmpty {
		t.Errorf("got %v, want %v", err, notify.ErrEmpty)
	}
}

func TestReceiveReusesItsBuffers(t *testing.T) {
	sock, _ := pair(t)
	got := testing.AllocsPerRun(100, func() {
		if _, err := sock.Receive(); err != notify.ErrEmpty {
			t.Fatal(err)
		}
	})
	// unix.Recvmsg puts the sender's address on the heap, before it knows that there is none.
	if got > 1 {
		t.Errorf("got %v allocations on an empty socket, want at most 1", got)
	}
}

// sendRaw sends what a Sender would not.
func sendRaw(t *testing.T, sock *notify.Socket, b []byte, fds ...int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	addr, err := unix.Getsockname(sock.FD())
	if err != nil {
		t.Fatal(err)
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(fd, b, oob, addr, 0); err != nil {
		t.Fatal(err)
	}
}

// TestReceiveRefusesADatagramAndGoesOn: invariant I10, on a real socket.
func TestReceiveRefusesADatagramAndGoesOn(t *testing.T) {
	self := fmt.Sprintf(": pid %d: ", os.Getpid())
	for _, tc := range []struct{ name, in, want string }{
		{"NUL inside", "READY=1\x00X=1", self + "datagram refused: parse message: NUL at byte 7"},
		{"one byte too long", "A=" + strings.Repeat("x", 4095), self + "datagram refused: parse message: longer than 4096 bytes"},
		{"far too long", "A=" + strings.Repeat("x", 60000), self + "datagram refused: parse message: longer than 4096 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sock, s := pair(t)
			checkFDs(t)
			sendRaw(t, sock, []byte(tc.in), 0, 1, 2)
			if err := s.Send(notify.Message{{"READY", "1"}}, soon()); err != nil {
				t.Fatal(err)
			}
			d, err := sock.Receive()
			if !errors.Is(err, notify.ErrRefused) || !strings.HasSuffix(err.Error(), tc.want) {
				t.Errorf("Receive = %v, %v, want an error that ends in %q", d, err, tc.want)
			}
			if d := mustReceive(t, sock); !d.Message.Is("READY", "1") {
				t.Errorf("the next one reads %q", d.Message)
			}
		})
	}
}

func TestReceiveTakesAnEmptyDatagram(t *testing.T) {
	sock, _ := pair(t)
	sendRaw(t, sock, nil)
	if d := mustReceive(t, sock); len(d.Message) != 0 || d.PID != os.Getpid() {
		t.Errorf("got %q from pid %d", d.Message, d.PID)
	}
}

// TestReceiveRefusesADatagramWithoutCredentials: invariant I9.
func TestReceiveRefusesADatagramWithoutCredentials(t *testing.T) {
	sock, s := pair(t)
	if err := unix.SetsockoptInt(sock.FD(), unix.SOL_SOCKET, unix.SO_PASSCRED, 0); err != nil {
		t.Fatal(err)
	}
	checkFDs(t)
	if err := s.Send(notify.Message{{"READY", "1"}}, soon(), 0); err != nil {
		t.Fatal(err)
	}
	_, err := sock.Receive()
	if !errors.Is(err, notify.ErrRefused) || !strings.HasSuffix(err.Error(), ": pid 0: datagram refused: no credentials") {
		t.Errorf("got %v", err)
	}
}

func TestReceiveRefusesADatagramThatLostDescriptors(t *testing.T) {
	sock, s := pair(t)
	checkFDs(t)
	if err := s.Send(notify.Message{{"FDSTORE", "1"}}, soon(), 0, 1, 2); err != nil {
		t.Fatal(err)
	}
	err := func() error {
		defer limitFDs(t)()
		_, err := sock.Receive()
		return err
	}()
	if !errors.Is(err, notify.ErrRefused) || !strings.HasSuffix(err.Error(), ": descriptors were lost on the way") {
		t.Errorf("got %v", err)
	}
}

// limitFDs leaves room for one more descriptor until its result is called.
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
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next + 1), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}
}

func TestReceiveTakesTheMostDescriptorsThatTheKernelPasses(t *testing.T) {
	sock, s := pair(t)
	checkFDs(t)
	fds := make([]int, 253) // all of them standard input
	if err := s.Send(notify.Message{{"FDSTORE", "1"}}, soon(), fds...); err != nil {
		t.Fatal(err)
	}
	if d := mustReceive(t, sock); len(d.FDs) != len(fds) {
		t.Errorf("got %d descriptors, want %d", len(d.FDs), len(fds))
	}
}

func TestCloseLeavesThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	sock, err := notify.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := sock.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
	if _, err := sock.Receive(); !errors.Is(err, unix.EBADF) || errors.Is(err, notify.ErrRefused) {
		t.Errorf("Receive after Close: got %v, want the socket's own error %v", err, unix.EBADF)
	}
}
