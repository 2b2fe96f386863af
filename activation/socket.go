package activation

import (
	"cmp"
	"fmt"
)

// A Socket is one descriptor with its name and origin. Whoever holds the Socket
// closes FD.
type Socket struct {
	FD   int
	Name string // entry in LISTEN_FDNAMES

	// Spec is the text that the socket was bound from, "" if it was
	// inherited from systemd (which is then not ours to drop or unlink).
	Spec string

	// Dev and Ino identify the file of a unix socket that Bind made; Ino is
	// 0 for every other.
	Dev, Ino uint64

	// Stored is the StoreName under which the manager keeps the socket, "" if it
	// does not, or is not known to.
	Stored string
}

// A Set is the outcome of Gather.
type Set struct {
	// Sockets is what the generation gets, in order: the declared ones in
	// the order of the specs, then the inherited rest in its own.
	Sockets []Socket

	Bound   []Socket // the part of Sockets that Gather made, to be shown
	Dropped []Socket // inherited, once bound from a spec that is gone, to be hidden
	Changed Changes  // what Sockets have to become yet, to be as their specs say
}

// Gather finds or makes a socket for each spec. A spec is an inherited socket,
// not a second bind, if kind and bound address are the same, or kind and
// explicit name are, except that a socket that was itself bound from a spec of
// that name must have been bound from that very spec: a changed address under
// the same name is a new socket. Changed options do not make one; what the kernel takes
// only before the bind is an error.
//
// A unix socket of ours whose file is gone or another's, which no client can reach
// any more, is none: it is bound anew.
//
// An address may overlap with that of a socket in Dropped. The server behind that one gets
// all connections that it got before until the new one is shown, and the other hidden:
// [Socket.Show], [Socket.Hide].
//
// Inherited sockets are left as they are; what they have to take yet is in Changed. After
// an error nothing is left of what Gather made. Descriptors in inherited
// stay the caller's, those in Bound become the caller's.
func Gather(specs []Spec, inherited []Socket) (Set, error) {
	if err := CheckNames(specs); err != nil {
		return Set{}, fmt.Errorf("listen: %w", err)
	}
	matches, taken, err := match(specs, inherited)
	if err != nil {
		return Set{}, err
	}
	leaving := leavingOf(inherited, taken)
	var set Set
	for i, spec := range specs {
		again := true
		if m := matches[i]; m >= 0 {
			again, err = set.take(spec, inherited[m])
			taken[m] = !again
		}
		if err == nil && again {
			err = set.bind(spec, leaving)
		}
		if err != nil {
			set.Undo()
			return Set{}, err
		}
	}
	for i, s := range inherited {
		switch {
		case taken[i]:
		case s.Spec == "":
			set.Sockets = append(set.Sockets, s)
		default:
			set.Dropped = append(set.Dropped, s)
		}
	}
	return set, nil
}

// take makes an inherited socket that of spec, or reports that it is to be made again.
//
// An IP socket never is, even if SO_REUSEPORT let us bind another one beside it: as long
// as the former one is open anywhere, the kernel goes on to give it connections, and
// nobody accepts them.
func (set *Set) take(spec Spec, s Socket) (again bool, err error) {
	changes, fixed, err := spec.compare(s)
	switch {
	case err != nil:
		return false, fmt.Errorf("listen %s: %w", spec, err)
	case fixed == nil:
		set.Sockets = append(set.Sockets, declare(s, spec))
		set.Changed = append(set.Changed, changes...)
		return false, nil
	case fixed.fixed == reopened:
		return true, nil
	}
	return false, fmt.Errorf("listen %s: option %s of a bound socket cannot change; hint: systemctl restart", spec, fixed.name)
}

// leavingSockets are the IP sockets of ours that no spec declares any more, by their port.
type leavingSockets map[int][]Socket

func leavingOf(inherited []Socket, taken []bool) leavingSockets {
	all := leavingSockets{}
	for i, s := range inherited {
		if !taken[i] && s.Spec != "" {
			if port := s.port(); port != 0 {
				all[port] = append(all[port], s)
			}
		}
	}
	return all
}

func (set *Set) bind(spec Spec, leaving leavingSockets) error {
	s, err := bindBeside(spec, leaving)
	if err != nil {
		return err
	}
	set.Sockets = append(set.Sockets, s)
	set.Bound = append(set.Bound, s)
	return nil
}

// Undo closes and unlinks what Gather made, and puts back what Changed.Apply changed.
func (s Set) Undo() {
	s.Changed.Undo()
	for _, b := range s.Bound {
		b.Unlink()
		b.Close()
	}
}

// CheckNames refuses two specs of one name: the server could not tell them apart.
func CheckNames(specs []Spec) error {
	seen := map[string]bool{}
	for _, s := range specs {
		if s.Name != "" && seen[s.Name] {
			return fmt.Errorf("duplicate name %q", s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}

// An identity is one way to tell which inherited socket a spec means: those of equal
// keys are looked at, so that thousands of either are no product. No key is none that
// can be the same.
type identity struct {
	ofSpec   func(Spec) string
	ofSocket func(Socket) string
	same     func(Spec, Socket) (bool, error)
}

// identities: what a socket was bound from goes before its address, and that before
// its name, so that no spec takes away what another one has the better claim to.
var identities = [...]identity{
	{Spec.place, Socket.place, func(Spec, Socket) (bool, error) { return true, nil }},
	{Spec.addressKey, Socket.addressKey, Spec.hasAddress},
	{func(s Spec) string { return s.Name }, Socket.systemdsName, func(s Spec, sock Socket) (bool, error) { return s.sameKind(sock.FD), nil }},
}

// match finds for each spec the index of the inherited socket that it means, or
// -1.
func match(specs []Spec, inherited []Socket) (matches []int, taken []bool, err error) {
	matches, taken = make([]int, len(specs)), make([]bool, len(inherited))
	for i := range matches {
		matches[i] = -1
	}
	if len(inherited) == 0 {
		return matches, taken, nil
	}
	lost := make([]bool, len(inherited))
	for j, s := range inherited {
		lost[j] = s.lostPath()
	}
	for _, id := range identities {
		index := map[string][]int{}
		for j, s := range inherited {
			if key := id.ofSocket(s); key != "" && !taken[j] && !lost[j] {
				index[key] = append(index[key], j)
			}
		}
		for i, spec := range specs {
			for _, j := range index[id.ofSpec(spec)] {
				if matches[i] >= 0 || taken[j] {
					continue
				}
				ok, err := id.same(spec, inherited[j])
				if err != nil {
					return nil, nil, err
				}
				if ok {
					matches[i], taken[j] = j, true
				}
			}
		}
	}
	return matches, taken, nil
}

// place is all of a spec but its options: the only claim to a port that the kernel
// chose.
func (s Spec) place() string {
	s.Options = ""
	return s.String()
}

// place is that of the spec that the socket was bound from.
func (s Socket) place() string {
	if s.Spec == "" {
		return ""
	}
	was, _, err := parsePlace(s.Spec)
	if err != nil {
		return ""
	}
	return was.place()
}

// systemdsName is the name of a socket of systemd's.
func (s Socket) systemdsName() string {
	if s.Spec != "" {
		return ""
	}
	return s.Name
}

// hasAddress reports whether the socket is of the spec's kind and address.
func (s Spec) hasAddress(sock Socket) (bool, error) {
	if !s.sameKind(sock.FD) {
		return false, nil
	}
	return s.sameAddress(sock.FD)
}

// declare is s under the name that spec gives it. A socket from systemd stays
// systemd's, whatever we call it.
func declare(s Socket, spec Spec) Socket {
	if spec.Name != "" {
		s.Name = spec.Name
	}
	if s.Spec != "" { // ours: named as if it were bound now
		s.Spec, s.Name = spec.String(), cmp.Or(spec.Name, Unnamed)
	}
	return s
}
