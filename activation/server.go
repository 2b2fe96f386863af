package activation

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// ErrNotPassed is returned when a server was given no socket of that name.
var ErrNotPassed = errors.New("no such socket was passed")

// Passed holds the sockets that a server was given and has not taken yet.
type Passed struct {
	sockets []Socket
}

// Take takes the sockets that this process was passed, and removes the variables
// of the protocol from the environment, so that no program that it starts takes
// them for its own. A server without sockets gets an empty Passed. Call it once,
// early: descriptors are recognised by their number.
func Take() (*Passed, error) {
	sockets, err := Inherited(os.LookupEnv)
	for _, name := range []string{EnvPID, EnvFDs, EnvNames, EnvPIDFDID} {
		os.Unsetenv(name)
	}
	if err != nil {
		return nil, err
	}
	return &Passed{sockets}, nil
}

// Names returns the names of the sockets not taken yet, in order.
func (p *Passed) Names() []string {
	names := make([]string, len(p.sockets))
	for i, s := range p.sockets {
		names[i] = s.Name
	}
	return names
}

// Listener takes the first socket called name. The listener owns its
// descriptor; closing it leaves a unix socket's path alone, which belongs to
// whoever bound it.
func (p *Passed) Listener(name string) (net.Listener, error) {
	l, err := take(p, name, Socket.checkListens, net.FileListener)
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return l, err
}

// PacketConn takes the first socket called name. The connection owns its
// descriptor.
func (p *Passed) PacketConn(name string) (net.PacketConn, error) {
	return take(p, name, Socket.checkDatagram, net.FilePacketConn)
}

// Close closes what was not taken.
func (p *Passed) Close() {
	for _, s := range p.sockets {
		s.Close()
	}
	p.sockets = nil
}

// take turns the first socket called name into a T. The socket leaves p only if
// that worked, so that a wrong guess at its kind can be mended. check comes first,
// because package net takes a unix socket of any type for either.
func take[T any](p *Passed, name string, check func(Socket) error, convert func(*os.File) (T, error)) (t T, err error) {
	for i, s := range p.sockets {
		if s.Name != name {
			continue
		}
		if err := check(s); err != nil {
			return t, fmt.Errorf("socket %q: %w", name, err)
		}
		f, err := s.file()
		if err != nil {
			return t, fmt.Errorf("socket %q: %w", name, err)
		}
		defer f.Close()
		if t, err = convert(f); err != nil { // convert works on a duplicate of its own
			return t, fmt.Errorf("socket %q: %w", name, err)
		}
		s.Close()
		p.sockets = append(p.sockets[:i], p.sockets[i+1:]...)
		return t, nil
	}
	return t, fmt.Errorf("socket %q: %w", name, ErrNotPassed)
}
