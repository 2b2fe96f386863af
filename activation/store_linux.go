package activation

import (
	"cmp"

	"golang.org/x/sys/unix"
)

func (s Socket) storeName() string {
	spec, _, err := parsePlace(s.Spec)
	if err != nil || spec.Network == "special" {
		return ""
	}
	var st unix.Stat_t
	if unix.Fstat(s.FD, &st) != nil {
		return ""
	}
	return entry{st.Ino, s.Dev, s.Ino, s.Name}.String()
}

// restore makes the socket that of a spec that is not taken yet, or reports that there
// is none.
func (s Socket) restore(specs []Spec, taken []bool) (Socket, bool) {
	e, ok := parseEntry(s.Name)
	var st unix.Stat_t
	if !ok || unix.Fstat(s.FD, &st) != nil || st.Ino != e.socket {
		s.Stored = s.Name // of no socket of ours
		return s, false
	}
	s.Stored, s.Name, s.Dev, s.Ino = s.Name, e.name, e.dev, e.ino
	bound, _ := unix.Getsockname(s.FD) // nil for a FIFO
	for i, spec := range specs {
		if taken[i] || !spec.couldBe(bound) || !spec.restores(s, e, bound) {
			continue
		}
		s.Spec, s.Name = spec.String(), cmp.Or(spec.Name, Unnamed)
		taken[i] = !s.lostPath() && spec.serves(s.FD) && spec.adapt(s)
		return s, taken[i]
	}
	return s, false
}

// couldBe tells most specs apart without asking the kernel about each.
func (s Spec) couldBe(bound unix.Sockaddr) bool {
	if b, ok := bound.(*unix.SockaddrUnix); ok {
		return s.Address == b.Name
	}
	return s.port == boundPort(bound) || s.anyPort()
}

// restores reports whether a socket of an earlier run is what s declares. If the kernel
// chose the port, the name tells.
func (s Spec) restores(sock Socket, e entry, bound unix.Sockaddr) bool {
	if !s.sameKind(sock.FD) {
		return false
	}
	if networks[s.Network] != 0 && s.anyPort() {
		e.name = cmp.Or(s.Name, Unnamed)
		if e.String() != sock.Stored {
			return false
		}
		s.port = boundPort(bound)
	}
	same, err := s.sameAddress(sock.FD)
	return err == nil && same
}

func boundPort(bound unix.Sockaddr) uint32 {
	switch b := bound.(type) {
	case *unix.SockaddrInet4:
		return uint32(b.Port)
	case *unix.SockaddrInet6:
		return uint32(b.Port)
	case *unix.SockaddrVM:
		return b.Port
	}
	return 0
}

// serves reports whether clients still reach the socket. shutdown(2) by any server that
// had it is for ever: most kinds stop to listen, and a unix socket shows it in poll(2) alone.
func (s Spec) serves(fd int) bool {
	if !s.listens() {
		return true
	}
	if (Socket{FD: fd}).checkListens() != nil {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents == 0
}

// adapt makes a socket of an earlier run as s says, of which nothing is known but what the
// kernel shows. If it cannot, a new one will say why.
func (s Spec) adapt(sock Socket) bool {
	model, err := s.model()
	if err != nil {
		return false
	}
	defer model.Close()
	if s.path() == "" && !sameNetwork(sock.FD, model.FD) {
		return false
	}
	for i := range options {
		o := &options[i]
		if !o.appliesTo(s.Network) || o.fixed == forgotten || o.when == onFile && s.path() == "" {
			continue
		}
		if !s.adaptOption(o, sock, model) {
			return false
		}
	}
	return true
}

func (s Spec) adaptOption(o *option, sock, model Socket) bool {
	to, err := s.wanted(o, model)
	if err != nil { // which an older kernel does not have, or this address family
		_, given := s.given(o.name)
		return !given
	}
	from, err := o.now(sock)
	switch {
	case err == nil && from == to:
		return true
	case o.fixed == stays, o.fixed == staysOn && from.n != 0:
		return false
	}
	return o.put(sock, to) == nil
}

// sameNetwork reports whether two sockets are in one network namespace, as far as the
// kernel tells (Linux 5.14): PrivateNetwork= may be new.
func sameNetwork(a, b int) bool {
	first, err := unix.GetsockoptUint64(a, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	second, berr := unix.GetsockoptUint64(b, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return err != nil || berr != nil || first == second
}
