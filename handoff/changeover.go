package handoff

import (
	"time"

	"github.com/flipexec/flipexec/activation"
)

// changeTime bounds the wait for a server to take what waits in sockets that go.
const changeTime = 2 * second

// changeOver takes new connections away from the sockets that are no longer declared, and
// gives them to those that take their place. There is no way back from it, and the
// server that has the former must not have been told to stop yet: what waits in their
// queues is its to answer. As they are hidden, it is no matter who else holds them.
func (e *estate) changeOver(say func(format string, args ...any)) {
	for _, s := range e.Bound {
		if err := s.Show(); err != nil {
			say("listen %s: %v", s.Spec, err)
		}
	}
	for _, s := range e.Dropped {
		if err := s.Hide(); err != nil {
			say("listen %s: %v; it answers until the former server is gone", s.Spec, err)
		}
		s.Unlink()
	}
	activation.AwaitQuiet(e.Dropped, time.Now().Add(changeTime))
	for _, s := range e.Dropped {
		s.Close()
	}
	e.Bound, e.Dropped = nil, nil
}
