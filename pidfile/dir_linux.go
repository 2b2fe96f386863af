package pidfile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

var errNotRegular = errors.New("not a regular file")

// dir is a directory that is held by a descriptor, so that every step of a
// change happens in the same one, even if its path is moved meanwhile.
type dir struct {
	fd   int
	path string // for errors
}

// openDir needs no permission to list the directory: O_PATH only walks there.
func openDir(path string) (dir, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return dir{}, fmt.Errorf("directory %s: %w", path, err)
	}
	return dir{fd, path}, nil
}

func (d dir) close() { unix.Close(d.fd) } // best effort: O_PATH has nothing to lose

// writable asks for the effective user, for whom access(2) does not speak, and
// sees a read-only file system, which permission bits do not show.
func (d dir) writable() error {
	err := retry(func() error {
		return unix.Faccessat(d.fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	})
	if err != nil {
		return fmt.Errorf("directory %s: %w", d.path, err)
	}
	return nil
}

// mode returns st_mode of name itself, or 0 if there is none.
func (d dir) mode(name string) (uint32, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err == unix.ENOENT {
		return 0, nil
	}
	return st.Mode, err
}

// read returns at most limit bytes and st_mode of the regular file at name.
// O_NONBLOCK is for a FIFO, which would wait for a writer.
func (d dir) read(name string, limit int) ([]byte, uint32, error) {
	fd, err := openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == unix.ELOOP || err == unix.ENXIO { // a symbolic link; a socket
		return nil, 0, errNotRegular
	}
	if err != nil {
		return nil, 0, err
	}
	defer unix.Close(fd) // best effort: only read
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return nil, 0, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, 0, errNotRegular
	}
	b := make([]byte, limit)
	n, err := transfer("read", b, func(b []byte) (int, error) { return unix.Read(fd, b) })
	return b[:n], st.Mode, err
}

func (d dir) readlink(name string) ([]byte, error) {
	b := make([]byte, maxContent+1)
	var n int
	err := retry(func() (err error) {
		n, err = unix.Readlinkat(d.fd, name, b)
		return err
	})
	return b[:max(n, 0)], err
}

// create makes a file that is complete, or none.
func (d dir) create(name string, e entry) error {
	fd, err := openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return os.NewSyscallError("create", err)
	}
	err = fill(fd, e)
	// A file system may report only now that it could not store the content.
	if errc := unix.Close(fd); err == nil && errc != nil && errc != unix.EINTR {
		err = os.NewSyscallError("close", errc)
	}
	if err != nil {
		return errors.Join(err, d.remove(name))
	}
	return nil
}

func fill(fd int, e entry) error {
	if err := retry(func() error { return unix.Fchmod(fd, e.mode&0o777) }); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	n, err := transfer("write", e.content, func(b []byte) (int, error) { return unix.Write(fd, b) })
	if err != nil {
		return err
	}
	if n < len(e.content) {
		return os.NewSyscallError("write", unix.EIO) // write(2) that returned 0
	}
	return os.NewSyscallError("fsync", retry(func() error { return unix.Fsync(fd) }))
}

func (d dir) symlink(name, target string) error {
	return os.NewSyscallError("symlink", retry(func() error { return unix.Symlinkat(target, d.fd, name) }))
}

func (d dir) rename(from, to string) error {
	return os.NewSyscallError("rename", retry(func() error { return unix.Renameat(d.fd, from, d.fd, to) }))
}

func (d dir) remove(name string) error {
	return retry(func() error { return unix.Unlinkat(d.fd, name, 0) })
}

// sync is best effort, and needs a second descriptor: fsync(2) refuses O_PATH.
func (d dir) sync() {
	fd, err := openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == nil {
		unix.Fsync(fd)
		unix.Close(fd)
	}
}
