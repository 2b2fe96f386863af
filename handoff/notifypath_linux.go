package handoff

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// A notifyPath is what a server finds in NOTIFY_SOCKET: a symbolic link that
// leads to its keeper until the server is published, to the manager while it is
// current (so that it speaks to systemd as its main process, with nothing of
// ours in between), and to its keeper again while it drains (its STOPPING=1
// would stop the unit). sendto(2) follows the link for every message; a library
// that connects once at its start stays with the keeper.
type notifyPath struct {
	socket  *notify.Socket
	store   *notify.Socket // beside it, for descriptors of the server's own: own.go
	link    string
	private bool // the directory is ours alone, and goes with us
}

// newNotifyPath makes the link and the keeper's socket in dir.
func newNotifyPath(dir string, generation int, private bool) (*notifyPath, error) {
	clearNotifyPath(dir, generation) // of a run of the unit that was killed
	n := &notifyPath{link: notifyLink(dir, generation), private: private}
	var err error
	if n.socket, err = notify.Listen(n.file()); err != nil {
		return nil, err
	}
	if n.store, err = notify.Listen(storePath(dir, generation)); err == nil {
		err = n.leadToKeeper()
	}
	if err != nil {
		n.remove()
		return nil, err
	}
	return n, nil
}

// clearNotifyPath removes what a keeper that was killed left behind: the names are
// ours.
func clearNotifyPath(dir string, generation int) {
	link := notifyLink(dir, generation)
	removeKind(link, unix.S_IFLNK)
	removeKind(link+".new", unix.S_IFLNK)
	removeKind(link+".sock", unix.S_IFSOCK)
	removeKind(storePath(dir, generation), unix.S_IFSOCK)
}

func notifyLink(dir string, generation int) string {
	return filepath.Join(dir, fmt.Sprintf("flipexec-notify-%d", generation))
}

func storePath(dir string, generation int) string {
	return filepath.Join(dir, fmt.Sprintf("flipexec-store-%d", generation))
}

func (n *notifyPath) file() string { return n.link + ".sock" }

func (n *notifyPath) leadToKeeper() error { return n.leadTo(filepath.Base(n.file())) }

// leadTo replaces the link atomically.
func (n *notifyPath) leadTo(target string) error {
	next := n.link + ".new"
	removeKind(next, unix.S_IFLNK)
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	return os.Rename(next, n.link)
}

// remove takes everything away; what is gone already is fine.
func (n *notifyPath) remove() {
	removeKind(n.link, unix.S_IFLNK)
	removeKind(n.file(), unix.S_IFSOCK)
	n.socket.Close()
	if n.store != nil {
		removeKind(n.store.Path(), unix.S_IFSOCK)
		n.store.Close()
	}
	if n.private {
		unix.Rmdir(filepath.Dir(n.link)) // best effort: empty unless somebody put something there
	}
}

// removeKind unlinks path if it is of the given kind.
func removeKind(path string, kind uint32) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == kind {
		unix.Unlink(path) // best effort: a failure shows when the name is needed
	}
}

// notifyDirectory is where this generation's notify path goes: the runtime
// directory, or a fresh one under $TMPDIR that other users may pass through but
// not list (a server may have changed its user before it speaks).
func notifyDirectory(env []string) (dir string, private bool, err error) {
	if dir := runtimeDirectory(env); dir != "" {
		if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
			return "", false, &os.PathError{Op: "runtime directory", Path: dir, Err: err}
		}
		return dir, false, nil
	}
	dir, err = os.MkdirTemp("", "flipexec-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		return "", false, fmt.Errorf("no place for the notify socket: %w; hint: RuntimeDirectory= in the unit", err)
	}
	return dir, true, nil
}
