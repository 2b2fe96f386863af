package handoff

import (
	"fmt"
	"slices"

	"github.com/flipexec/flipexec/activation"
)

// gather is row 5.
func (l *launcher) gather() error {
	if err := makeRoom(max(len(l.options.Listen), len(l.inherited)) + len(l.Own)); err != nil {
		return err
	}
	if err := l.reserve(); err != nil {
		return err
	}
	set, err := gatherSockets(l.options.Listen, l.inherited, l.freed, l.Own)
	l.Sockets, l.Bound, l.Dropped, l.changed = set.Sockets, set.Bound, set.Dropped, set.Changed
	reached("gathered")
	if err == nil {
		l.planStore()
	}
	return err
}

// gatherSockets is gatherFreed within the limits of the kernel, for a server that gets its own
// descriptors as well.
func gatherSockets(specs []activation.Spec, inherited []activation.Socket, freed bool, own []descriptor) (activation.Set, error) {
	set, err := gatherFreed(specs, inherited, freed)
	if err != nil {
		return set, withLimitHint(err)
	}
	var names []string
	for _, s := range (estate{Sockets: set.Sockets, Own: own}).passed() {
		names = append(names, s.Name)
	}
	if err := checkNamesFit(names); err != nil {
		set.Undo()
		return activation.Set{}, err
	}
	return set, nil
}

// reserve has the running keeper look at the paths that may be bound and the options
// that may change, so that it can take back what a launcher leaves behind that is
// killed: before it has passed its sockets on, or before the manager has been told.
func (l *launcher) reserve() error {
	m := message{kind: msgReserve}
	if l.leavesTraces() {
		for _, spec := range l.options.Listen {
			m.add("spec", spec.String())
		}
	}
	if l.predecessor == nil || len(m.fields) == 0 {
		return nil
	}
	err := l.predecessor.keeper.send(m)
	if err == nil {
		m, err = l.predecessor.keeper.receive()
		m.close()
	}
	if err == nil && m.kind != msgReserved {
		err = fmt.Errorf("message %q was not expected", m.kind)
	}
	if err != nil {
		return fmt.Errorf("control socket: no answer from the running generation: %w", err)
	}
	return nil
}

// leavesTraces reports whether a path may be made, or an option of a socket changed that
// others have, too.
func (l *launcher) leavesTraces() bool {
	return slices.ContainsFunc(l.options.Listen, func(spec activation.Spec) bool {
		_, ok := activation.LookAt(spec)
		return ok
	}) || len(activation.Foresee(l.options.Listen, l.inherited)) > 0
}
