package activation

import (
	"path/filepath"
	"strconv"
	"strings"
)

// A Spare is a second name, hidden in the same directory, for the file of a unix socket
// or FIFO that [Bind] made. When somebody unlinks the path the file lives on under it,
// and the path can be put back. Without one it could not, although the socket is
// open: linkat(2) makes no name for a file that has none left.
type Spare struct {
	socket     Socket
	path, name string
}

// NewSpare makes the spare name, or takes the one that another process has made or
// left. Only the very file that Bind made gets one.
func NewSpare(s Socket) (Spare, error) { return newSpare(s) }

// String is the path that can be put back.
func (p Spare) String() string { return p.path }

// Watch tells an inotify(7) instance to become readable, with an event of the returned
// watch descriptor, when the file gets or loses a name. It is not the directory that
// is watched: what else happens there wakes nobody.
func (p Spare) Watch(inotify int) (wd int, err error) { return p.watch(inotify) }

// PutBack gives the file its path again, and reports whether that was necessary. What
// somebody else has put there stays, and is an error.
func (p Spare) PutBack() (bool, error) { return p.putBack() }

// RemoveSpares removes the spare names of sockets, and those of earlier ones at the
// same paths, which a process that was killed has left.
func RemoveSpares(sockets []Socket) { removeSpares(sockets) }

// spareMark stands between the two parts of a spare name: the name that the file has at
// its path, and the number of its inode. By that it is known to be ours, whatever has
// become of the path.
const spareMark = ".flipexec-"

func spareName(path string, ino uint64) string {
	dir, base := filepath.Split(path)
	return dir + "." + base + spareMark + strconv.FormatUint(ino, 10)
}

// parseSpare takes apart the last element of a spare name.
func parseSpare(name string) (base string, ino uint64, ok bool) {
	i := strings.LastIndex(name, spareMark)
	if i < 1 {
		return "", 0, false
	}
	base = name[1:i]
	ino, err := strconv.ParseUint(name[i+len(spareMark):], 10, 64)
	return base, ino, err == nil && name == spareName(base, ino)
}
