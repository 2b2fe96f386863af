package notify

import (
	"errors"
	"fmt"
	"io/fs"
)

var (
	// ErrEmpty is returned by [Socket.Receive] when nothing is waiting.
	ErrEmpty = errors.New("no datagram waiting")

	// ErrRefused is wrapped by the errors of [Socket.Receive] that concern one
	// datagram, and not the socket.
	ErrRefused = errors.New("datagram refused")

	errNoCredentials = errors.New("no credentials")
	errLostFDs       = errors.New("descriptors were lost on the way")
)

// Socket is the receiving end: the private socket to which NOTIFY_SOCKET of a
// server leads. It is for one goroutine at a time.
type Socket struct {
	fd   int
	path string
	// One byte more than a message may have, so that an oversized one shows.
	buf [MaxSize + 1]byte
	oob []byte
}

// Datagram is a message with its sender, as the kernel vouches for it.
type Datagram struct {
	Message Message
	// PID is the sending process, in our PID namespace. It may have exited
	// since, and the number may have been used again.
	PID int
	// UID is the sender's effective user, in our user namespace.
	UID uint32
	// FDs came with the message. They are the caller's to close, and are
	// close-on-exec.
	FDs []int
}

// Listen binds a datagram socket at path, which must be absolute, of at most
// 107 bytes, and not exist. The socket does not block and carries its senders'
// credentials. Its mode is 0666 whatever the umask, because a server may send
// after setuid(2); the directory decides who reaches it. On error nothing is
// left at path. The caller closes the Socket and removes path.
func Listen(path string) (*Socket, error) {
	if err := checkPath(path); err != nil {
		return nil, fmt.Errorf("listen %q: %w", path, err)
	}
	fd, err := listen(path)
	if err != nil {
		return nil, &fs.PathError{Op: "listen", Path: path, Err: err}
	}
	return &Socket{fd: fd, path: path, oob: make([]byte, controlSize())}, nil
}

// FD returns the descriptor, to be polled for input. It stays the Socket's.
func (s *Socket) FD() int { return s.fd }

// Path returns where the socket was bound.
func (s *Socket) Path() string { return s.path }

// Receive returns the datagram that has waited longest, and never blocks: it
// returns [ErrEmpty] when there is none.
//
// An error that wraps [ErrRefused] concerns one datagram only, which is gone,
// its descriptors closed; the text names the sender's PID, and the next call
// goes on with the next datagram. Refused are messages that [Parse] refuses,
// those without the credentials of a process that is visible to us, and those
// that lost descriptors because our RLIMIT_NOFILE was reached. Any other error
// is the socket's own, and would come again.
func (s *Socket) Receive() (Datagram, error) {
	n, oobn, lost, err := receive(s.fd, s.buf[:], s.oob)
	if err == ErrEmpty {
		return Datagram{}, err
	}
	if err != nil {
		return Datagram{}, &fs.PathError{Op: "receive", Path: s.path, Err: err}
	}
	d, err := parseControl(s.oob[:oobn])
	switch {
	case err != nil:
	case d.PID <= 0: // what the kernel says of a process outside our PID namespace
		err = errNoCredentials
	case lost:
		err = errLostFDs
	default:
		d.Message, err = Parse(s.buf[:n])
	}
	if err != nil {
		d.Discard()
		return Datagram{}, fmt.Errorf("receive %s: pid %d: %w: %w", s.path, d.PID, ErrRefused, err)
	}
	return d, nil
}

// Discard closes the descriptors of a datagram from a stranger. It may be a trap:
// a socket with SO_LINGER, whose last close(2) waits for a peer that never reads.
func (d Datagram) Discard() {
	for _, fd := range d.FDs {
		dontLinger(fd)
		closeFD(fd) // best effort: never used
	}
}

// Mute has the kernel throw away whatever is sent from now on, in its sender's
// time and without an error there. What waits already can still be received.
func (s *Socket) Mute() error {
	if err := mute(s.fd); err != nil {
		return &fs.PathError{Op: "mute", Path: s.path, Err: err}
	}
	return nil
}

// Close closes the descriptor, and with it whatever still waits. It leaves the
// path, which may be somebody else's by now.
func (s *Socket) Close() error {
	err := closeFD(s.fd)
	s.fd = -1
	if err != nil {
		return &fs.PathError{Op: "close", Path: s.path, Err: err}
	}
	return nil
}
