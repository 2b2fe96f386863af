package activation

import "fmt"

// Bind makes the socket that spec describes: non-blocking, close-on-exec,
// listening if its kind can listen. The descriptor is the caller's.
//
// At a unix path, a socket to which nobody listens any more is replaced; one
// that answers, or a file that is no socket, is an error and stays as it is.
func Bind(spec Spec) (Socket, error) { return bindBeside(spec, nil) }

// bindBeside binds where sockets are in the way that are about to go, too.
func bindBeside(spec Spec, leaving leavingSockets) (Socket, error) {
	s, err := bind(spec, leaving)
	if err != nil {
		return Socket{}, fmt.Errorf("listen %s: %w", spec, err)
	}
	return s, nil
}

// Close closes the descriptor. The socket lives on in every other process that
// holds it.
func (s Socket) Close() { s.close() }

// Unlink removes the file of a unix socket that Bind made, if the path still
// leads to that very file, and its [Spare]. It does nothing for every other socket.
func (s Socket) Unlink() { s.unlink() }
