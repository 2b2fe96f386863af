package notify

import (
	"fmt"
	"io/fs"
	"time"
)

// maxFDs is SCM_MAX_FD of the kernel: no message carries more descriptors.
const maxFDs = 253

// Sender is a datagram socket connected to a manager. It goes on speaking to
// the socket that it found when it was dialled, whatever becomes of the path.
// Its methods may be called concurrently, except for [Sender.Close].
type Sender struct {
	fd      int
	address string
}

// Dial connects to address, a value of NOTIFY_SOCKET: an absolute path, or an
// abstract name that begins with '@', of at most 107 bytes. Other forms, such
// as systemd's vsock:, are refused. It does not block; a socket that is
// missing, or that nobody reads any more, is an error here and not at the
// first message. The caller closes the Sender.
func Dial(address string) (*Sender, error) {
	if err := checkAddress(address); err != nil {
		return nil, fmt.Errorf("connect %q: %w", address, err)
	}
	fd, err := connect(address)
	if err != nil {
		return nil, &fs.PathError{Op: "connect", Path: address, Err: err}
	}
	return &Sender{fd: fd, address: address}, nil
}

// Send sends m as one datagram, and with it duplicates of fds (SCM_RIGHTS of
// unix(7), at most 253); fds themselves stay the caller's. While the receiver's
// queue is full it waits, until deadline at the longest; the error then wraps
// [os.ErrDeadlineExceeded]. A deadline in the past, such as the zero Time,
// means one attempt without a wait. A receiver that has gone is ECONNREFUSED.
//
// A nil error says that the message is in the queue, and nothing about what
// the manager makes of it.
func (s *Sender) Send(m Message, deadline time.Time, fds ...int) error {
	b, err := m.Encode()
	if err != nil {
		return fmt.Errorf("send %s: %w", s.address, err)
	}
	if len(fds) > maxFDs {
		return fmt.Errorf("send %s: %d descriptors, a message holds %d", s.address, len(fds), maxFDs)
	}
	if err := send(s.fd, b, fds, deadline); err != nil {
		return &fs.PathError{Op: "send", Path: s.address, Err: err}
	}
	return nil
}

// SendWitnessed sends m to the manager as Send does, and a note about it to the
// socket at path witness, in one system call: a process that is killed has sent
// both or neither, so that whoever reads the note, or finds none after its death,
// knows whether the manager has been told. The note is not waited for; witnessed
// reports whether it was taken. After an error nothing was sent.
func (s *Sender) SendWitnessed(m Message, witness string, note Message, deadline time.Time) (witnessed bool, err error) {
	b, err := m.Encode()
	if err != nil {
		return false, fmt.Errorf("send %s: %w", s.address, err)
	}
	n, err := note.Encode()
	if err == nil {
		err = checkPath(witness)
	}
	if err != nil {
		return false, fmt.Errorf("send %s: %w", witness, err)
	}
	if witnessed, err = sendWitnessed(s.fd, b, witness, n, deadline); err != nil {
		return false, &fs.PathError{Op: "send", Path: s.address, Err: err}
	}
	return witnessed, nil
}

// Barrier waits until the manager has processed every message that was sent to
// it before this call, by this process or any other, or until deadline; the
// error then wraps [os.ErrDeadlineExceeded].
//
// It follows sd_notify_barrier(3): BARRIER=1 travels alone with the write end
// of a pipe, and the manager closes that end when its turn comes. Processed is
// not accepted: a message that was refused has been processed, too. A receiver
// that leaves closes the pipe as well, so that its end cannot be told from an
// answer.
func (s *Sender) Barrier(deadline time.Time) error {
	r, w, err := pipe()
	if err != nil {
		return &fs.PathError{Op: "barrier", Path: s.address, Err: err}
	}
	defer closeFD(r) // best effort: only ever polled
	err = s.Send(Message{{"BARRIER", "1"}}, deadline, w)
	// Ours must be gone before the wait, or the pipe would never hang up.
	closeFD(w)
	if err != nil {
		return err
	}
	if err := waitHangup(r, deadline); err != nil {
		return &fs.PathError{Op: "barrier", Path: s.address, Err: err}
	}
	return nil
}

// Close closes the socket. Messages that were sent stay in the receiver's queue.
func (s *Sender) Close() error {
	err := closeFD(s.fd)
	s.fd = -1
	if err != nil {
		return &fs.PathError{Op: "close", Path: s.address, Err: err}
	}
	return nil
}
