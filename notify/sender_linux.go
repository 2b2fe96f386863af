package notify

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connect returns a datagram socket connected to address. The socket does not
// block, because SO_SNDTIMEO could not express a deadline across retries.
func connect(address string) (int, error) {
	fd, err := newSocket()
	if err != nil {
		return -1, err
	}
	for {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: address})
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

func newSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return fd, os.NewSyscallError("socket", err)
}

// send tries, and waits for room in the queue, until one of them ends it. A
// wake-up is only a hint: another sender may have taken the room.
func send(fd int, b []byte, fds []int, deadline time.Time) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		_, err := unix.SendmsgN(fd, b, oob, nil, unix.MSG_NOSIGNAL)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.EAGAIN:
			if err := poll(fd, unix.POLLOUT, deadline); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// sendWitnessed is sendmmsg(2) with two messages: first to whom fd is connected to,
// then to path. The kernel stops at the first of them that fails, and looks for a
// signal, SIGKILL included, only while it waits for room (which a socket that does
// not block never does) and on its way back to us: __sys_sendmmsg, net/socket.c.
func sendWitnessed(fd int, first []byte, path string, second []byte, deadline time.Time) (witnessed bool, err error) {
	to := unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	for i := range len(path) {
		to.Path[i] = int8(path[i])
	}
	iov := [2]unix.Iovec{{Base: &first[0]}, {Base: &second[0]}}
	iov[0].SetLen(len(first))
	iov[1].SetLen(len(second))
	var msgs [2]unix.Mmsghdr
	for i := range msgs {
		msgs[i].Hdr.Iov = &iov[i]
		msgs[i].Hdr.SetIovlen(1)
	}
	msgs[1].Hdr.Name = (*byte)(unsafe.Pointer(&to))
	msgs[1].Hdr.Namelen = uint32(int(unsafe.Offsetof(to.Path)) + len(path) + 1)
	for {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n) == len(msgs), nil
		case unix.EINTR:
		case unix.EAGAIN:
			if err := poll(fd, unix.POLLOUT, deadline); err != nil {
				return false, err
			}
		default:
			return false, errno
		}
	}
}

func pipe() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, os.NewSyscallError("pipe2", err)
	}
	return p[0], p[1], nil
}

// waitHangup asks for no event: POLLHUP is always reported, and bytes written
// into the pipe must not pass for it.
func waitHangup(fd int, deadline time.Time) error { return poll(fd, 0, deadline) }

// poll waits for events on fd, an error or a hang-up.
func poll(fd int, events int16, deadline time.Time) error {
	p := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		ts := unix.NsecToTimespec(int64(max(0, time.Until(deadline))))
		n, err := unix.Ppoll(p, &ts, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("ppoll", err)
		case n == 0:
			return os.ErrDeadlineExceeded
		default:
			return nil
		}
	}
}

// closeFD makes no second attempt after EINTR: Linux has released the
// descriptor by then (close(2)), and its number may be another's.
func closeFD(fd int) error {
	if err := unix.Close(fd); err != nil && err != unix.EINTR {
		return err
	}
	return nil
}
