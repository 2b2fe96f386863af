package pidfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteIsReadableByAllWhateverTheUmask(t *testing.T) {
	path := newPath(t)
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	mustWrite(t, path, 1234)
	checkContent(t, path, "1234\n")
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fi.Mode(), os.FileMode(0o644); got != want {
		t.Errorf("got mode %v, want %v", got, want)
	}
}

func TestReaderSeesTheOldFileOrTheNewOne(t *testing.T) {
	path := newPath(t)
	mustWrite(t, path, 1)
	done := make(chan struct{})
	reads := make(chan int, 1)
	go func() {
		n := 0
		defer func() { reads <- n }()
		for {
			if pid, err := Read(path); err != nil || pid != 1 && pid != 2147483647 {
				t.Errorf("read %d, %v", pid, err)
				return
			}
			n++
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	for range 150 {
		f := mustWrite(t, path, 2147483647)
		if err := f.Restore(); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	if n := <-reads; n == 0 {
		t.Error("nothing was read")
	}
}

func TestWriteReplacesALinkAndRestorePutsItBack(t *testing.T) {
	target := filepath.Join(t.TempDir(), "target")
	put(t, target, "precious", 0o644)
	path := newPath(t)
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	f := mustWrite(t, path, 1234)
	if got, err := Read(path); got != 1234 || err != nil {
		t.Errorf("read %d, %v, want %d", got, err, 1234)
	}
	checkContent(t, target, "precious")
	if err := f.Restore(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.Readlink(path); got != target || err != nil {
		t.Errorf("the link leads to %q, %v, want %q", got, err, target)
	}
	checkContent(t, target, "precious")
}

// TestRestorePutsBackContentAndMode: invariant I2, when a handoff is taken back.
func TestRestorePutsBackContentAndMode(t *testing.T) {
	path := newPath(t)
	put(t, path, "99\nand more\n", 0o600)
	f := mustWrite(t, path, 1234)
	checkContent(t, path, "1234\n")
	if err := f.Restore(); err != nil {
		t.Fatal(err)
	}
	checkContent(t, path, "99\nand more\n")
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fi.Mode(), os.FileMode(0o600); got != want {
		t.Errorf("got mode %v, want %v", got, want)
	}
}

func TestRestoreRemovesWhatWasNotThere(t *testing.T) {
	path := newPath(t)
	f := mustWrite(t, path, 1234)
	for range 2 { // the second time there is nothing to do
		if err := f.Restore(); err != nil {
			t.Fatal(err)
		}
		checkMissing(t, path)
	}
}

func TestRestoreLeavesAloneWhatSomebodyElseWrote(t *testing.T) {
	for _, tc := range []struct{ name, content string }{
		{"another PID", "5678\n"},
		{"our PID and more", "1234\nmore"},
		{"our PID without its newline", "1234"},
		{"empty", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := newPath(t)
			put(t, path, "99\n", 0o644)
			f := mustWrite(t, path, 1234)
			put(t, path, tc.content, 0o644)
			if err := f.Restore(); err != nil {
				t.Fatal(err)
			}
			checkContent(t, path, tc.content)
		})
	}
	for _, tc := range unusual {
		t.Run(tc.name, func(t *testing.T) {
			path := newPath(t)
			f := mustWrite(t, path, 1234)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := tc.make(path); err != nil {
				t.Fatal(err)
			}
			if err := f.Restore(); err != nil {
				t.Fatal(err)
			}
			if fi, err := os.Lstat(path); err != nil || fi.Mode().IsRegular() {
				t.Errorf("it was replaced: %v", err)
			}
		})
	}
}

func TestWriteRefusesWhatItCouldNotPutBack(t *testing.T) {
	path := newPath(t)
	big := strings.Repeat("x", maxContent+1)
	put(t, path, big, 0o644)
	want := path + ": more than 4096 bytes, not a PID file"
	if f, err := Write(path, 1234); f != nil || err == nil || err.Error() != "write "+want {
		t.Errorf("Write = %v, %v", f, err)
	}
	if err := Check(path); err == nil || err.Error() != "check "+want {
		t.Errorf("Check: %v", err)
	}
	checkContent(t, path, big)
}

func TestWriteRefusesWhatIsNoPID(t *testing.T) {
	path := newPath(t)
	for _, pid := range []int{0, -1, 1 << 31} {
		if f, err := Write(path, pid); f != nil || err == nil {
			t.Errorf("Write(%d) = %v, %v", pid, f, err)
		}
	}
	checkMissing(t, path)
}

func TestNoCallLeavesADescriptorOpen(t *testing.T) {
	path := newPath(t)
	before := entryCount(t, "/proc/self/fd")
	f := mustWrite(t, path, 1234)
	Read(path)
	Check(path)
	Read(filepath.Dir(path))
	Write(filepath.Dir(path), 1)
	f.Restore()
	Remove(path, 1234)
	if after := entryCount(t, "/proc/self/fd"); after != before {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

func entryCount(t *testing.T, dir string) int {
	t.Helper()
	e, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}
