package activation_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// underMask runs the test with that umask, which is the process's.
func underMask(t *testing.T, mask int) {
	t.Helper()
	old := unix.Umask(mask)
	t.Cleanup(func() { unix.Umask(old) })
}

func TestModeAndOwnerAreAsAskedWhateverTheUmaskIs(t *testing.T) {
	needsRoot(t)
	for _, mask := range []int{0, 0o022, 0o777} {
		underMask(t, mask)
		for _, network := range []string{"unix", "unixgram", "unixpacket", "fifo"} {
			at := path(t)
			s := bind(t, network+":"+at+"?mode=0666&user=4242&group=4243")
			var st unix.Stat_t
			if err := unix.Lstat(at, &st); err != nil {
				t.Fatal(err)
			}
			if st.Mode&0o7777 != 0o666 || st.Uid != 4242 || st.Gid != 4243 {
				t.Errorf("%s under %03o: got mode %o of %d:%d", network, mask, st.Mode, st.Uid, st.Gid)
			}
			s.Unlink()
			checkMissing(t, at)
		}
	}
}

// TestGroupIsThatOfTheUser: as SocketUser= without SocketGroup= means it; and a number
// has none.
func TestGroupIsThatOfTheUser(t *testing.T) {
	needsRoot(t)
	at := path(t)
	s := bind(t, "unix:"+at+"?user=4242&group=4243")
	set := gather(t, []activation.Socket{s}, "unix:"+at+"?user=daemon")
	if err := set.Changed.Apply(); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(at, &st); err != nil || st.Uid != 1 || st.Gid != 1 {
		t.Errorf("got %d:%d, %v, want 1:1", st.Uid, st.Gid, err)
	}
	set.Undo()
	if err := unix.Lstat(at, &st); err != nil || st.Uid != 4242 || st.Gid != 4243 {
		t.Errorf("after Undo: got %d:%d, %v, want 4242:4243", st.Uid, st.Gid, err)
	}
	checkFDs(t)
	_, err := activation.Gather(parseAll(t, "unix:"+at+"?user=no-such-user"), []activation.Socket{s})
	if err == nil || !strings.Contains(err.Error(), `option user: user "no-such-user": is not in /etc/passwd`) {
		t.Errorf("got %v, want the user named", err)
	}
}

// TestFailedFileOptionLeavesNoFile: invariant I2.
func TestFailedFileOptionLeavesNoFile(t *testing.T) {
	checkFDs(t)
	for _, network := range []string{"unix", "fifo"} {
		at := path(t)
		if _, err := activation.Bind(parse(t, network+":"+at+"?group=no-such-group&mode=0600")); err == nil {
			t.Errorf("%s: a group that is not there", network)
		}
		checkMissing(t, at)
	}
}

// TestAddressIsThePublicPath: servers look for their socket by it. This is why a socket
// is not bound at another name and renamed, of which getsockname(2) would not know.
func TestAddressIsThePublicPath(t *testing.T) {
	at := path(t)
	s := bind(t, "unix:"+at+"?mode=0600")
	if sa, err := unix.Getsockname(s.FD); err != nil || sa.(*unix.SockaddrUnix).Name != at {
		t.Errorf("got %+v, %v, want %s", sa, err, at)
	}
	if err := os.Rename(at, at+".new"); err != nil {
		t.Fatal(err)
	}
	if sa, err := unix.Getsockname(s.FD); err != nil || sa.(*unix.SockaddrUnix).Name != at {
		t.Errorf("after rename(2): got %+v, %v, want what it was bound as", sa, err)
	}
}

// TestDirectoryIsMadeOnlyIfItsModeIsSaid: and is not touched if it is there.
func TestDirectoryIsMadeOnlyIfItsModeIsSaid(t *testing.T) {
	underMask(t, 0o077)
	top := filepath.Dir(path(t))
	at := filepath.Join(top, "a", "b", "s")
	bind(t, "unix:"+at+"?directorymode=0751")
	bind(t, "unix:"+at+"2?directorymode=0700")
	for _, dir := range []string{filepath.Dir(at), filepath.Join(top, "a")} {
		if st, err := os.Stat(dir); err != nil || st.Mode() != fs.ModeDir|0o751 {
			t.Errorf("%s: got %v, %v, want 0751", dir, st.Mode(), err)
		}
	}
	if _, err := activation.Bind(parse(t, "unix:"+filepath.Join(top, "missing", "s"))); err == nil {
		t.Error("bound in a missing directory")
	}
	checkFDs(t)
	write(t, filepath.Join(top, "file"))
	if _, err := activation.Bind(parse(t, "unix:"+filepath.Join(top, "file", "c", "s")+"?directorymode=0700")); err == nil {
		t.Error("made a directory in a file")
	}
}

// TestStaleSocketIsReplacedByOneWithAMode: the rules of a path are the same with options.
func TestStaleSocketIsReplacedByOneWithAMode(t *testing.T) {
	at := path(t)
	stale(t, "unix:"+at)
	s := bind(t, "unix:"+at+"?mode=0600")
	if _, err := activation.Bind(parse(t, "unix:"+at+"?mode=0666")); err == nil || !strings.Contains(err.Error(), "another process listens here") {
		t.Errorf("got %v, want it refused", err)
	}
	if st, err := os.Lstat(at); err != nil || st.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("got %v, %v", st.Mode(), err)
	}
	s.Unlink()
	checkMissing(t, at)
}
