package notify

import (
	"os"
	"time"

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
