package activation

import "golang.org/x/sys/unix"

// A buffer is the pair of options behind rcvbuf or sndbuf.
type buffer struct {
	size, force int
	lock        int // bit of SO_BUF_LOCK: the size was set by hand
}

var (
	receiveBuffer = buffer{unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, 2}
	sendBuffer    = buffer{unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, 1}
)

// automatic marks the value of a buffer that nobody has set: the kernel may change it.
const automatic = "automatic"

func setReceiveBuffer(s Socket, v value) error       { return receiveBuffer.set(s.FD, v) }
func setSendBuffer(s Socket, v value) error          { return sendBuffer.set(s.FD, v) }
func getReceiveBuffer(s Socket) (v value, err error) { return receiveBuffer.get(s.FD) }
func getSendBuffer(s Socket) (v value, err error)    { return sendBuffer.get(s.FD) }

// set does as fd_set_rcvbuf of systemd, src/basic/socket-util.c: who may not go
// beyond sysctl net.core.rmem_max gets as much as that allows.
func (b buffer) set(fd int, v value) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.size, v.n); err != nil {
		return err
	}
	if now, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, b.size); err != nil || now < 2*v.n {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.force, v.n) // best effort, see above
	}
	if v.text != automatic {
		return nil
	}
	locks, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, locks&^b.lock)
	}
	return err
}

// get undoes the doubling of socket(7).
func (b buffer) get(fd int) (v value, err error) {
	v.n, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, b.size)
	v.n /= 2
	// Linux 5.14; before, the size is put back and stays fixed.
	if locks, lerr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK); lerr == nil && locks&b.lock == 0 {
		v.text = automatic
	}
	return v, err
}
