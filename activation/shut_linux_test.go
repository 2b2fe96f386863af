package activation

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFileIsShutUntilItIsReady: a datagram socket could be written to from bind(2) on.
func TestFileIsShutUntilItIsReady(t *testing.T) {
	dir, err := os.MkdirTemp("", "act")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for options, want := range map[string]uint32{"?mode=0666&user=1": 0o600, "": 0o777} {
		spec, err := ParseSpec("unixgram:" + filepath.Join(dir, "s") + options)
		if err != nil {
			t.Fatal(err)
		}
		mask, err := umask()
		if err != nil {
			t.Fatal(err)
		}
		fd, sa, err := spec.open()
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := spec.shut(fd); err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, sa); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(spec.path(), &st); err != nil || st.Mode&0o777 != want&^uint32(mask) {
			t.Errorf("%q: got mode %o, %v, want %o", options, st.Mode&0o777, err, want&^uint32(mask))
		}
		os.Remove(spec.path())
	}
}
