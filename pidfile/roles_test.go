package pidfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Whatever stops the write, the file is as it was: invariant I2.
func TestFullDiskLeavesTheFileAsItWas(t *testing.T)       { inTmpfs(t, "full") }
func TestExhaustedInodesLeaveTheFileAsItWas(t *testing.T) { inTmpfs(t, "no-inodes") }
func TestReadOnlyFileSystemIsNamed(t *testing.T)          { inTmpfs(t, "read-only") }
func TestForbiddenDirectoryIsNamed(t *testing.T) {
	if os.Geteuid() == 0 {
		inTmpfs(t, "denied")
		return
	}
	t.Chdir(t.TempDir())
	if err := roleDenied(); err != nil {
		t.Error(err)
	}
}

// roleFull has one page, which the first file takes.
func roleFull() error {
	if _, err := Write("server.pid", 1234); err != nil {
		return err
	}
	if err := Check("server.pid"); err != nil {
		return fmt.Errorf("no space, which Check cannot see: %w", err)
	}
	return failedWrite(unix.ENOSPC, "write server.pid: write: no space left on device")
}

// roleNoInodes uses up the inodes by files without a name.
func roleNoInodes() error {
	if _, err := Write("server.pid", 1234); err != nil {
		return err
	}
	for {
		f, err := os.OpenFile(".", unix.O_TMPFILE|os.O_WRONLY, 0o600)
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil {
			return err
		}
		defer f.Close()
	}
	return failedWrite(unix.ENOSPC, "write server.pid: create: no space left on device")
}

// roleReadOnly shows that not even root may write.
func roleReadOnly() error {
	if _, err := Write("server.pid", 1234); err != nil {
		return err
	}
	if err := unix.Mount("", ".", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("remount: %w", err)
	}
	if err := wantError(Check("server.pid"), unix.EROFS, "check server.pid: directory .: read-only file system"); err != nil {
		return err
	}
	return failedWrite(unix.EROFS, "write server.pid: create: read-only file system")
}

// roleDenied becomes another user first, because root is refused nothing. The
// real user stays root: it is the effective one who must be asked about.
func roleDenied() error {
	if _, err := Write("server.pid", 1234); err != nil {
		return err
	}
	if err := os.Chmod(".", 0o555); err != nil {
		return err
	}
	defer os.Chmod(".", 0o755) // for whoever removes it
	if os.Geteuid() == 0 {
		if err := syscall.Setresuid(0, 65534, 0); err != nil {
			return err
		}
	}
	if err := wantError(Check("server.pid"), fs.ErrPermission, "check server.pid: directory .: permission denied"); err != nil {
		return err
	}
	return failedWrite(fs.ErrPermission, "write server.pid: create: permission denied")
}

// failedWrite tries to write another PID, and expects the first one unharmed.
func failedWrite(is error, text string) error {
	f, err := Write("server.pid", 5678)
	if f != nil {
		return errors.New("got a File with an error")
	}
	if err := wantError(err, is, text); err != nil {
		return err
	}
	if got, err := Read("server.pid"); got != 1234 || err != nil {
		return fmt.Errorf("read %d, %w, want 1234", got, err)
	}
	return onlyEntry("./server.pid")
}

func wantError(err, is error, text string) error {
	if !errors.Is(err, is) || err.Error() != text {
		return fmt.Errorf("got %q, want %q", fmt.Sprint(err), text)
	}
	return nil
}
