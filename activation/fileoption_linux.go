package activation

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/flipexec/flipexec/notation"
	"golang.org/x/sys/unix"
)

var errNotOurs = errors.New("the file at the path is not the one that was bound there")

// openFile opens the socket's own file, and never what a link leads to. The descriptor
// can be asked and used as a place, and nothing else: opening a socket is not
// possible.
func (s Socket) openFile() (fd int, err error) {
	spec, _, err := parsePlace(s.Spec)
	if err != nil {
		return -1, err
	}
	if spec.Network == "fifo" {
		return unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, 0)
	}
	return s.openAt(spec.path())
}

// openAt is openFile under any name that the file has.
func (s Socket) openAt(name string) (fd int, err error) {
	fd, err = unix.Open(name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	kind := st.Mode & unix.S_IFMT
	if err == nil && (kind != unix.S_IFSOCK && (kind != unix.S_IFIFO || s.Ino == 0) || s.Ino != 0 && !s.isFile(st)) {
		err = errNotOurs
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// stat is what the file system says of the socket's file.
func (s Socket) stat() (st unix.Stat_t, err error) {
	fd, err := s.openFile()
	if err != nil {
		return st, err
	}
	defer unix.Close(fd)
	return st, unix.Fstat(fd, &st)
}

func (s Socket) chown(uid, gid int) error {
	fd, err := s.openFile()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)
}

func setUser(s Socket, v value) error  { return s.chown(v.n, -1) }
func setGroup(s Socket, v value) error { return s.chown(-1, v.n) }

func setMode(s Socket, v value) error {
	fd, err := s.openFile()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// fchmod(2) refuses O_PATH, and fchmodat2(2) came with Linux 6.6.
	return unix.Chmod(descriptorPath(fd), uint32(v.n))
}

func getUser(s Socket) (value, error) {
	st, err := s.stat()
	return value{n: int(st.Uid)}, err
}

func getGroup(s Socket) (value, error) {
	st, err := s.stat()
	return value{n: int(st.Gid)}, err
}

func getMode(s Socket) (value, error) {
	st, err := s.stat()
	return value{n: int(st.Mode & 0o777)}, err
}

// fileOption is what an option of the file is to be by s; ok is false if that is
// whatever it was created with.
func (s Spec) fileOption(name string) (v value, ok bool, err error) {
	v, ok = s.given(name)
	switch {
	case name == "user" && ok:
		v.n, _, err = notation.User(v.text)
	case name == "group" && ok:
		v.n, err = notation.Group(v.text)
	case name == "group": // that of a user who is given by name, as for systemd
		user, given := s.given("user")
		if !given {
			return v, false, nil
		}
		if _, v.n, err = notation.User(user.text); err == nil && v.n < 0 {
			return v, false, nil
		}
		ok = true
	}
	return value{n: v.n}, ok, err
}

// setFileOptions sets owner and mode of a file that was just made.
func (s Spec) setFileOptions(sock Socket) error {
	for i := range options {
		o := &options[i]
		if o.when != onFile || s.path() == "" {
			continue
		}
		v, ok, err := s.fileOption(o.name)
		if err == nil && ok {
			err = o.put(sock, v)
		}
		if err != nil {
			return optionError(o, err)
		}
	}
	return nil
}

// created is what an option of the file has if nobody gives it.
func (s Spec) created(name string) (v value, err error) {
	switch name {
	case "user":
		v.n = os.Geteuid()
	case "group":
		v.n = os.Getegid()
	case "mode":
		v.n = 0o777
		if s.Network == "fifo" {
			v.n = 0o666
		}
		mask, err := umask()
		return value{n: v.n &^ mask}, err
	}
	return v, nil
}

// umask reads it where umask(2) could only change it, for all threads at once.
func umask() (int, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(status), "\nUmask:\t")
	digits, _, _ := strings.Cut(after, "\n")
	mask, err := strconv.ParseUint(digits, 8, 32)
	return int(mask), err
}
