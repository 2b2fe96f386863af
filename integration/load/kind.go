package load

import (
	"context"
	"errors"
	"os"
	"syscall"
)

// A Kind tells failed requests apart.
type Kind string

// The kinds of failure.
const (
	Refused Kind = "refused"    // nothing listens
	Dial    Kind = "dial-other" // no connection for another reason, such as a path that is not there
	Reset   Kind = "reset"      // closed under the request (RST, EPIPE)
	EOF     Kind = "eof"        // closed in order, but without an answer
	Timeout Kind = "timeout"    // not connected or not answered in time
	Garbled Kind = "garbled"    // cut short, too long, or not HTTP/1.1 with a Content-Length
	Status  Kind = "status"     // not 200
)

// A failure is why a request has failed.
type failure struct {
	kind       Kind
	text       string
	unanswered bool // the connection was closed before the first byte of an answer
}

func (f *failure) Error() string { return string(f.kind) + ": " + f.text }

func dialKind(err error) Kind {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case timedOut(err):
		return Timeout
	case errors.Is(err, syscall.ECONNRESET):
		return Reset
	}
	return Dial
}

// kind is for errors of an established connection.
func kind(err error) Kind {
	if timedOut(err) {
		return Timeout
	}
	return Reset
}

func timedOut(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT)
}

func unanswered(err error) bool {
	f, ok := err.(*failure)
	return ok && f.unanswered
}
