package activation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

var (
	errNoFile = errors.New("no file was made for it")
	errTaken  = errors.New("another file is there by now, and stays")
)

func newSpare(s Socket) (Spare, error) {
	path := s.path()
	if path == "" {
		return Spare{}, fmt.Errorf("spare name for %s: %w", s.Spec, errNoFile)
	}
	p := Spare{s, path, spareName(path, s.Ino)}
	if s.isAt(p.name) {
		return p, nil
	}
	if err := s.link(path, p.name); err != nil {
		return Spare{}, fmt.Errorf("spare name for %s: %w%s", path, err, linkHint(err))
	}
	return p, nil
}

// path is where Bind made the socket's file, "" if it made none.
func (s Socket) path() string {
	spec, _, err := parsePlace(s.Spec)
	if err != nil || s.Ino == 0 {
		return ""
	}
	return spec.path()
}

// link gives the socket's own file another name. What is looked at is what is linked, by
// one descriptor: somebody else may put another file there in between. (AT_EMPTY_PATH
// would need CAP_DAC_READ_SEARCH, before Linux 6.10 from everybody.)
func (s Socket) link(from, to string) error {
	fd, err := s.openAt(from)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Linkat(unix.AT_FDCWD, descriptorPath(fd), unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
}

// linkHint is the mend for what link can fail with.
func linkHint(err error) string {
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EROFS):
		return "; hint: the directory must be writable"
	case errors.Is(err, unix.EPERM):
		return "; hint: sysctl fs.protected_hardlinks wants its owner, or CAP_FOWNER"
	case errors.Is(err, unix.ENOENT):
		return "; hint: the next reload binds it anew"
	}
	return ""
}

// watch needs one descriptor for a moment, as link does, so that it is the file itself
// which is watched and not what a name leads to by then.
func (p Spare) watch(inotify int) (wd int, err error) {
	fd, err := p.socket.openAt(p.name)
	if err != nil {
		return -1, fmt.Errorf("watch %s: %w", p.path, err)
	}
	defer unix.Close(fd)
	// The count of its links is an attribute of a file, inotify(7).
	wd, err = unix.InotifyAddWatch(inotify, descriptorPath(fd), unix.IN_ATTRIB|unix.IN_MOVE_SELF)
	if err == unix.ENOSPC {
		return -1, fmt.Errorf("watch %s: %w; hint: sysctl fs.inotify.max_user_watches", p.path, err)
	}
	if err != nil {
		return -1, fmt.Errorf("watch %s: %w", p.path, err)
	}
	return wd, nil
}

// putBack does not look before it links. The event comes before the kernel has
// forgotten the name that was unlinked: lstat(2) may still find it, and there would be
// no second event. linkat(2) waits for the directory, and with it for the end of the
// unlink(2).
func (p Spare) putBack() (bool, error) {
	err := error(unix.EEXIST)
	for range maxTries {
		if err = p.socket.link(p.name, p.path); err == nil {
			return true, nil
		}
		var st unix.Stat_t
		lerr := unix.Lstat(p.path, &st)
		if lerr == nil && p.socket.isFile(st) {
			return false, nil
		}
		if err != unix.EEXIST || lerr != unix.ENOENT { // else it was unlinked in between
			break
		}
	}
	if err == unix.EEXIST {
		err = errTaken
	}
	return false, fmt.Errorf("put back %s: %w%s", p.path, err, linkHint(err))
}

// maxTries is for a path that somebody unlinks and makes again as fast as we look.
const maxTries = 10

// removeSpares reads each directory once, however many of the sockets are there.
func removeSpares(sockets []Socket) {
	directories := map[string]map[string]bool{} // of directories, the names in them
	for _, s := range sockets {
		path := s.path()
		if path == "" {
			continue
		}
		dir, base := filepath.Split(path)
		if directories[dir] == nil {
			directories[dir] = map[string]bool{}
		}
		directories[dir][base] = true
	}
	for dir, bases := range directories {
		look(dir, func(name string) {
			if base, ino, ok := parseSpare(name); ok && bases[base] {
				unlinkSpare(dir+name, ino)
			}
		})
	}
}

// maxLooked bounds the files that are looked at in a directory, which may be everybody's. In
// a larger one the spare name of a process that was killed may stay.
const maxLooked = 10_000

// look calls found with what is in a directory, or not at all if we may not know.
func look(dir string, found func(name string)) {
	const some = 500
	f, err := os.Open(dir)
	if err != nil {
		return
	}
	defer f.Close()
	for range maxLooked / some {
		names, err := f.Readdirnames(some)
		for _, name := range names {
			found(name)
		}
		if err != nil { // io.EOF, or best effort
			return
		}
	}
}

// unlinkSpare removes a spare name if it is that of the file that it speaks of.
func unlinkSpare(path string, ino uint64) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Ino != ino {
		return
	}
	if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFSOCK || kind == unix.S_IFIFO {
		unix.Unlink(path) // best effort: the next generation tries again
	}
}

func descriptorPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
