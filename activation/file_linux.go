package activation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var (
	errNoFIFO    = errors.New("the file at this path is no FIFO and stays; hint: move it away or choose another path")
	errForeign   = errors.New("the FIFO at this path is another user's")
	errHasReader = errors.New("another process reads here")
	errNoSpecial = errors.New("is neither a device nor a file of /proc or /sys")
)

// bindFIFO makes a FIFO, or takes one that is there, as systemd does; that is then
// not ours to remove. It is opened for writing as well, so that a reader never
// comes to an end when the last writer leaves.
func bindFIFO(spec Spec, s Socket) (_ Socket, err error) {
	made, err := makeFIFO(spec)
	if err != nil {
		return Socket{}, err
	}
	defer func() {
		if err != nil {
			s.Unlink()
			s.Close()
		}
	}()
	if made {
		err = s.identify(spec.path())
	} else {
		err = checkFIFO(spec.path())
	}
	if err != nil {
		return Socket{}, err
	}
	s.FD, err = unix.Open(spec.path(), unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Socket{}, &os.PathError{Op: "open", Path: spec.path(), Err: err}
	}
	if !spec.sameFileType(s.FD) || !spec.sameFile(s.FD) { // somebody else's, just now
		return Socket{}, errNoFIFO
	}
	if err := spec.setEarly(s); err != nil {
		return Socket{}, err
	}
	return s, spec.setFileOptions(s)
}

// makeFIFO reports whether it made one. If it is to have another mode than the usual
// one, it is our user's alone until it has.
func makeFIFO(spec Spec) (bool, error) {
	mode := uint32(0o666)
	if _, ok := spec.given("mode"); ok {
		mode = 0o600
	}
	err := unix.Mkfifo(spec.path(), mode)
	if err == unix.EEXIST {
		return false, nil
	}
	return err == nil, err
}

// checkFIFO refuses what a FIFO must not be if we have not made it.
func checkFIFO(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFIFO:
		return errNoFIFO
	case int(st.Uid) != unix.Geteuid() && st.Uid != 0:
		return errForeign
	}
	if hasReader(path) {
		return errHasReader
	}
	return nil
}

// hasReader reports whether some process has the FIFO open for reading.
func hasReader(path string) bool {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err != unix.ENXIO
	}
	unix.Close(fd)
	return true
}

// openSpecial opens a file that somebody else has made.
func openSpecial(spec Spec, s Socket) (Socket, error) {
	flags := unix.O_RDONLY
	if writable, _ := spec.given("writable"); writable.n != 0 {
		flags = unix.O_RDWR
	}
	fd, err := unix.Open(spec.Address, flags|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Socket{}, &os.PathError{Op: "open", Path: spec.Address, Err: err}
	}
	s.FD = fd
	if !spec.sameFileType(fd) {
		s.Close()
		return Socket{}, errNoSpecial
	}
	return s, nil
}

// sameFileType reports whether the descriptor is what fifo or special stands for.
func (s Spec) sameFileType(fd int) bool {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false
	}
	typ := st.Mode & unix.S_IFMT
	if s.Network == "fifo" {
		return typ == unix.S_IFIFO
	}
	return typ == unix.S_IFCHR || typ == unix.S_IFREG
}

// sameFile reports whether the descriptor is that of the file at the path.
func (s Spec) sameFile(fd int) bool {
	var open, there unix.Stat_t
	return unix.Fstat(fd, &open) == nil && unix.Lstat(s.Address, &there) == nil && open.Dev == there.Dev && open.Ino == there.Ino
}

// makeDirectories makes those above the path that are missing, if the spec says with
// which mode. They stay, as those of DirectoryMode= do.
func (s Spec) makeDirectories() error {
	mode, ok := s.given("directorymode")
	if !ok {
		return nil
	}
	return makeDirectory(filepath.Dir(s.Address), uint32(mode.n))
}

// makeDirectory gives exactly the mode to what it makes, whatever the umask is.
func makeDirectory(path string, mode uint32) error {
	err := unix.Mkdir(path, 0o700)
	if err == unix.ENOENT && path != "/" {
		if err := makeDirectory(filepath.Dir(path), mode); err != nil {
			return err
		}
		err = unix.Mkdir(path, 0o700)
	}
	if err == nil {
		err = chmodDirectory(path, mode)
	}
	if err == nil || err == unix.EEXIST {
		return nil
	}
	return fmt.Errorf("mkdir %s: %w", path, err)
}

// chmodDirectory does not follow a link that somebody puts there in the meantime.
func chmodDirectory(path string, mode uint32) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchmod(fd, mode)
}
