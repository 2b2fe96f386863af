package activation_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// watched is an inotify instance that watches the spare's file.
func watched(t *testing.T, spare activation.Spare) (inotify int) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := spare.Watch(fd); err != nil {
		t.Fatal(err)
	}
	return fd
}

// tells reports whether there is an event until the timeout, and takes all there are.
func tells(t *testing.T, inotify int, timeout time.Duration) bool {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(inotify), Events: unix.POLLIN}}
	n, err := 0, error(unix.EINTR) // of the runtime's own signals
	for err == unix.EINTR {
		n, err = unix.Poll(p, int(timeout.Milliseconds()))
	}
	if err != nil {
		t.Fatal(err)
	}
	var events [4096]byte
	if _, err := unix.Read(inotify, events[:]); err != nil && err != unix.EAGAIN {
		t.Fatal(err)
	}
	return n > 0
}

// TestWatchTellsOfNamesOnly: clients and other files do not wake whoever watches.
func TestWatchTellsOfNamesOnly(t *testing.T) {
	at := path(t)
	s, spare := withSpare(t, "unix:"+at)
	inotify := watched(t, spare)
	for range 10 {
		if !accepts(t, s, "unix", at) {
			t.Fatal("does not accept")
		}
	}
	write(t, at+".other")
	if err := os.Remove(at + ".other"); err != nil {
		t.Fatal(err)
	}
	if tells(t, inotify, 0) {
		t.Error("told of a connection, or of another file")
	}
	for name, change := range map[string]func() error{
		"unlinked": func() error { return errors.Join(os.Remove(at), os.Link(spareOf(at, s), at)) },
		"moved":    func() error { return errors.Join(os.Rename(at, at+".old"), os.Rename(at+".old", at)) },
		"replaced": func() error { write(t, at+".new"); return os.Rename(at+".new", at) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if !tells(t, inotify, 0) {
			t.Errorf("not told that the path was %s", name)
		}
		if name == "replaced" {
			if err := errors.Join(os.Remove(at), os.Link(spareOf(at, s), at)); err != nil {
				t.Fatal(err)
			}
			tells(t, inotify, 0)
		}
	}
}

// TestNoUnlinkIsMissed: the event comes while the name that goes may still be found. It
// is put back each time, by one who does nothing between two events.
func TestNoUnlinkIsMissed(t *testing.T) {
	at := path(t)
	s, spare := withSpare(t, "unix:"+at)
	inotify := watched(t, spare)
	const times = 1_000
	unlinked := make(chan error, 1)
	go func() { unlinked <- unlinkOften(at, times) }()
	back := 0
	for back < times {
		if !tells(t, inotify, 30*time.Second) {
			t.Errorf("put back %d times and told no more", back)
			break
		}
		done, err := spare.PutBack()
		if err != nil {
			t.Error(err)
			break
		}
		if done {
			back++
		}
	}
	if err := <-unlinked; err != nil {
		t.Error(err)
	}
	checkPath(t, at, s)
}

// unlinkOften unlinks the path as soon as it is there again.
func unlinkOften(at string, times int) error {
	deadline := time.Now().Add(30 * time.Second) // of the next one
	for done := 0; done < times; {
		switch err := unix.Unlink(at); {
		case err == nil:
			done++
			deadline = time.Now().Add(30 * time.Second)
		case err != unix.ENOENT:
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("not put back after unlink %d", done)
		}
	}
	return nil
}

// roleSpare makes the spare name of a socket of another process, and watches it.
func roleSpare() error {
	s := activation.Socket{FD: -1, Spec: os.Getenv("SPEC")}
	if _, err := fmt.Sscanf(os.Getenv("FILE"), "%d:%d", &s.Dev, &s.Ino); err != nil {
		return err
	}
	spare, err := activation.NewSpare(s)
	if err != nil {
		return err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	_, err = spare.Watch(fd)
	return err
}

// TestWhatForbidsASpareIsSaid: to a user without privileges.
func TestWhatForbidsASpareIsSaid(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root, to be somebody else")
	}
	const nobody = 65534
	protected, err := os.ReadFile("/proc/sys/fs/protected_hardlinks")
	if err != nil {
		t.Fatal(err)
	}
	notOwner := "operation not permitted; hint: sysctl fs.protected_hardlinks wants its owner, or CAP_FOWNER"
	if strings.TrimSpace(string(protected)) == "0" {
		notOwner = ""
	}
	for name, c := range map[string]struct {
		owner    int
		mode     os.FileMode // of the directory
		fileMode os.FileMode
		want     string
	}{
		"nothing":                {nobody, 0o777, 0o600, ""},
		"read-only directory":    {nobody, 0o755, 0o600, "permission denied; hint: the directory must be writable"},
		"socket of another user": {0, 0o777, 0o666, notOwner},
		"unreadable socket":      {nobody, 0o777, 0o200, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			at := path(t)
			s := bind(t, "unix:"+at)
			if err := errors.Join(os.Chown(at, c.owner, c.owner), os.Chmod(at, c.fileMode), os.Chmod(filepath.Dir(at), c.mode)); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), role+"=spare", "GORACE=atexit_sleep_ms=0", "SPEC=unix:"+at, fmt.Sprintf("FILE=%d:%d", s.Dev, s.Ino))
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			out, err := cmd.CombinedOutput()
			if got := strings.TrimSpace(string(out)); (err == nil) != (c.want == "") || !strings.HasSuffix(got, c.want) || got != "" && !strings.Contains(got, at) {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}
