package activation

import "fmt"

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
}

// A Set is the outcome of Gather.
type Set struct {
	// Sockets is what the generation gets, in order: the declared ones in
	// the order of the specs, then the inherited rest in its own.
	Sockets []Socket

	Bound   []Socket // the part of Sockets that Gather made
	Dropped []Socket // inherited, once bound from a spec that is gone
}

// Gather finds or makes a socket for each spec. A spec is an inherited socket,
// not a second bind, if kind and bound address are the same, or kind and
// explicit name are, except that a socket that was itself bound from a spec of
// that name must have been bound from that very spec: a changed address under
// the same name is a new socket.
//
// After an error nothing is left of what Gather made. Descriptors in inherited
// stay the caller's, those in Bound become the caller's.
func Gather(specs []Spec, inherited []Socket) (Set, error) {
	if err := CheckNames(specs); err != nil {
		return Set{}, fmt.Errorf("listen: %w", err)
	}
	var set Set
	taken := make([]bool, len(inherited))
	for _, spec := range specs {
		i, err := find(spec, inherited, taken)
		if err != nil {
			set.Undo()
			return Set{}, err
		}
		if i >= 0 {
			taken[i] = true
			set.Sockets = append(set.Sockets, declare(inherited[i], spec))
			continue
		}
		s, err := Bind(spec)
		if err != nil {
			set.Undo()
			return Set{}, err
		}
		set.Sockets = append(set.Sockets, s)
		set.Bound = append(set.Bound, s)
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

// Undo closes and unlinks what Gather made.
func (s Set) Undo() {
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

// find is the index of the inherited socket that spec means, or -1.
func find(spec Spec, inherited []Socket, taken []bool) (int, error) {
	byName := -1
	for i, s := range inherited {
		if taken[i] || !spec.sameKind(s.FD) {
			continue
		}
		same, err := spec.sameAddress(s.FD)
		if err != nil {
			return -1, err
		}
		if same || s.Spec == spec.String() {
			return i, nil
		}
		if byName < 0 && s.Spec == "" && spec.Name != "" && s.Name == spec.Name {
			byName = i
		}
	}
	return byName, nil
}

// declare is s under the name that spec gives it. A socket from systemd stays
// systemd's, whatever we call it.
func declare(s Socket, spec Spec) Socket {
	if spec.Name != "" {
		s.Name = spec.Name
	}
	if s.Spec != "" {
		s.Spec = spec.String()
	}
	return s
}
