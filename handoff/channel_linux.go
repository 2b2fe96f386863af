package handoff

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds what a peer of ours may take for one message, or for an answer that
// needs no thought. Such a peer answers in microseconds; one that does not is
// stopped or hung.
const patience = 5 * second

// A channel carries messages over a connected SOCK_SEQPACKET socket. It owns the
// descriptor.
type channel struct{ fd int }

// newChannel takes the descriptor over and bounds what blocks on it.
func newChannel(fd int) (*channel, error) {
	c := &channel{fd}
	for _, opt := range []int{unix.SO_SNDTIMEO, unix.SO_RCVTIMEO} {
		if err := c.bound(opt, time.Now().Add(patience)); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// bound lets what opt is about, SO_SNDTIMEO or SO_RCVTIMEO, block until then.
func (c *channel) bound(opt int, until time.Time) error {
	left := max(time.Until(until), time.Microsecond) // 0 would be for ever
	tv := unix.NsecToTimeval(left.Nanoseconds())
	return os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, opt, &tv))
}

// newChannelPair makes two ends of one channel.
func newChannelPair() (*channel, *channel, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	a, err := newChannel(fds[0])
	if err != nil {
		unix.Close(fds[1])
		return nil, nil, err
	}
	b, err := newChannel(fds[1])
	if err != nil {
		a.close()
		return nil, nil, err
	}
	return a, b, nil
}

func (c *channel) close() { unix.Close(c.fd) }

// hungUp reports whether nobody is at the other end.
func (c *channel) hungUp() bool {
	fds := []unix.PollFd{{Fd: int32(c.fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// send blocks until the peer has room for the message, at most patience for all of
// its records. Descriptors stay the caller's.
func (c *channel) send(m message) error {
	records, err := m.encode()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for _, r := range records {
		var oob []byte
		if len(r.fds) > 0 {
			oob = unix.UnixRights(r.fds...)
		}
		err := ignoringEINTR(func() error {
			if err := c.bound(unix.SO_SNDTIMEO, deadline); err != nil {
				return err
			}
			return unix.Sendmsg(c.fd, r.data, oob, nil, unix.MSG_NOSIGNAL)
		})
		switch err {
		case nil:
		case unix.EAGAIN:
			return fmt.Errorf("send %s: not taken within %v", m.kind, patience)
		case unix.ETOOMANYREFS: // RLIMIT_NOFILE bounds this, too, unix(7)
			return fmt.Errorf("send %s: too many descriptors of this user are on their way: %w; hint: LimitNOFILE= in the unit", m.kind, err)
		default:
			return fmt.Errorf("send %s: %w", m.kind, err)
		}
	}
	return nil
}

// receive returns the next message; it blocks for at most patience until it has
// all of its records. The descriptors become the caller's. A peer that hung up is io.EOF.
func (c *channel) receive() (message, error) {
	var m message
	size, deadline := 0, time.Now().Add(patience)
	for first, more := true, true; more; first = false {
		data, fds, err := c.receiveRecord(deadline)
		if err == nil {
			if more, err = m.decodeRecord(data, fds); err != nil {
				closeAll(fds)
			}
		}
		if err == nil && first && more {
			err = m.prepare()
		}
		if size += len(data); err == nil && size > maxMessage {
			err = fmt.Errorf("message %s is too large", m.kind)
		}
		if err != nil {
			m.close()
			return message{}, err
		}
	}
	return m, nil
}

// prepare is for the rest of a message whose first record says how many descriptors come.
func (m message) prepare() error {
	text := m.get(fieldDescriptors)
	if text == "" {
		return nil
	}
	n, err := number(text)
	if err == nil {
		err = makeRoom(n)
	}
	if err != nil {
		return fmt.Errorf("message %s: %s=%s: %w", m.kind, fieldDescriptors, text, err)
	}
	if n > manyDescriptors {
		collectOnRequest()
	}
	return nil
}

func (c *channel) receiveRecord(deadline time.Time) ([]byte, []int, error) {
	var size int
	err := ignoringEINTR(func() (err error) { // learn the size, so that an idle keeper holds no large buffer
		if err := c.bound(unix.SO_RCVTIMEO, deadline); err != nil {
			return err
		}
		size, _, _, _, err = unix.Recvmsg(c.fd, nil, nil, unix.MSG_PEEK|unix.MSG_TRUNC)
		return err
	})
	if err == unix.EAGAIN {
		return nil, nil, fmt.Errorf("recvmsg: nothing came within %v", patience)
	}
	if err != nil {
		return nil, nil, os.NewSyscallError("recvmsg", err)
	}
	return c.read(size, 0)
}

// read takes one record of at most size bytes. The descriptors become the caller's.
func (c *channel) read(size, flags int) ([]byte, []int, error) {
	data, oob := make([]byte, size), make([]byte, unix.CmsgSpace(recordFDs*4))
	var n, oobn, got int
	err := ignoringEINTR(func() (err error) {
		n, oobn, got, _, err = unix.Recvmsg(c.fd, data, oob, unix.MSG_CMSG_CLOEXEC|flags)
		return err
	})
	if err != nil {
		return nil, nil, os.NewSyscallError("recvmsg", err)
	}
	fds, err := rights(oob[:oobn])
	switch {
	case err != nil:
	case got&unix.MSG_TRUNC != 0:
		err = fmt.Errorf("recvmsg: record of more than %d bytes", size)
	case got&unix.MSG_CTRUNC != 0:
		err = withLimitHint(fmt.Errorf("recvmsg: descriptors were cut off: %w", unix.EMFILE)) // SCM_RIGHTS is cut at RLIMIT_NOFILE
	case n == 0:
		err = io.EOF // the protocol has no empty records
	}
	if err != nil {
		closeAll(fds)
		return nil, nil, err
	}
	return data[:n], fds, nil
}

// rights collects the descriptors of a control message buffer.
func rights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	var fds []int
	for _, msg := range msgs {
		if msg.Header.Level != unix.SOL_SOCKET || msg.Header.Type != unix.SCM_RIGHTS {
			continue
		}
		if len(msg.Data)%4 != 0 { // ParseUnixRights would panic
			return fds, errors.New("control message: part of a descriptor")
		}
		got, err := unix.ParseUnixRights(&msg)
		if err != nil {
			return fds, fmt.Errorf("control message: %w", err)
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
