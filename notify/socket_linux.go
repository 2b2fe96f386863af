package notify

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// listen returns a socket bound at path and open to every user. Credentials
// are asked for before bind(2): the kernel attaches them when a message is
// sent, so that the first one must not be faster.
func listen(path string) (int, error) {
	fd, err := newSocket()
	if err != nil {
		return -1, err
	}
	err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1))
	if err == nil {
		err = bind(fd, path)
	}
	if err != nil {
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

func bind(fd int, path string) error {
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return err
	}
	if err := allowAll(path); err != nil {
		unix.Unlink(path) // best effort: bind has just made it
		return err
	}
	return nil
}

// allowAll gives the socket at path mode 0666. The umask is the whole
// process's and must not be touched, and chmod(2) by path would follow a link
// that was put there meanwhile: so the socket is opened without being used,
// looked at, and changed by way of its descriptor. fchmodat2(2) would be
// shorter, but a seccomp filter older than Linux 6.6 may kill its caller.
func allowAll(path string) error {
	fd, err := open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer closeFD(fd) // best effort: O_PATH has nothing to lose
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return unix.ENOTSOCK
	}
	return os.NewSyscallError("chmod", unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o666))
}

func open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// controlSize is the room that the largest control data needs. With less, a
// message of many descriptors would look like one that lost some.
func controlSize() int {
	return unix.CmsgSpace(unix.SizeofUcred) + unix.CmsgSpace(maxFDs*4)
}

// receive reads one datagram into b and oob. lost says that the kernel could
// not deliver all descriptors. MSG_TRUNC needs no look, because b is longer
// than a message may be.
func receive(fd int, b, oob []byte) (n, oobn int, lost bool, err error) {
	for {
		n, oobn, flags, _, err := unix.Recvmsg(fd, b, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		switch err {
		case nil:
			return n, oobn, flags&unix.MSG_CTRUNC != 0, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, 0, false, ErrEmpty
		default:
			return 0, 0, false, err
		}
	}
}

// mute attaches a socket filter of one instruction: keep 0 bytes, which is to drop
// the datagram, in sendmsg(2) of its sender.
func mute(fd int) error {
	program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	return os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}))
}

func dontLinger(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{}) // best effort: only sockets do
}

// parseControl returns the credentials and descriptors of a message, and on
// error those that it found before: they are open by now.
func parseControl(b []byte) (d Datagram, err error) {
	for len(b) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return d, fmt.Errorf("control data: %w", err)
		}
		if err := d.addControl(unix.SocketControlMessage{Header: h, Data: data}); err != nil {
			return d, fmt.Errorf("control data: %w", err)
		}
		b = rest
	}
	return d, nil
}

func (d *Datagram) addControl(c unix.SocketControlMessage) error {
	if c.Header.Level != unix.SOL_SOCKET {
		return nil
	}
	switch c.Header.Type {
	case unix.SCM_RIGHTS:
		if len(c.Data)%4 != 0 { // ParseUnixRights would panic
			return errors.New("part of a descriptor")
		}
		fds, err := unix.ParseUnixRights(&c)
		d.FDs = append(d.FDs, fds...)
		return err
	case unix.SCM_CREDENTIALS:
		if len(c.Data) < unix.SizeofUcred { // ParseUnixCredentials would read past the end
			return errors.New("part of the credentials")
		}
		cred, err := unix.ParseUnixCredentials(&c)
		if err != nil {
			return err
		}
		d.PID, d.UID = int(cred.Pid), cred.Uid
	}
	return nil
}
