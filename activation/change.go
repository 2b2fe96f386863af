package activation

import (
	"fmt"
	"slices"
)

// A Change is an option that an inherited socket has to take to be as its spec says.
type Change struct {
	socket   Socket
	option   *option
	from, to value
	made     bool
}

// Changes are not made by [Gather]: the running server has the same sockets, and the
// next one may fail yet. Whoever has no more to fear applies them.
type Changes []Change

// Foresee is what Gather would have to change, for a process that is to put it back if
// the one that gathers dies. Errors are left to Gather.
func Foresee(specs []Spec, inherited []Socket) (all Changes) {
	matches, taken, err := match(specs, inherited)
	if err != nil {
		return nil
	}
	leaving := leavingOf(inherited, taken)
	for i, m := range matches {
		if m < 0 {
			all = append(all, foreseeRoom(specs[i], leaving)...)
			continue
		}
		if changes, fixed, err := specs[i].compare(inherited[m]); err == nil && fixed == nil {
			all = append(all, changes...)
		}
	}
	return all
}

func (all Changes) have(option string) bool {
	return slices.ContainsFunc(all, func(c Change) bool { return c.option.name == option })
}

// Apply makes all changes, or none and says why.
func (all Changes) Apply() error {
	for i := range all {
		c := &all[i]
		if err := c.option.put(c.socket, c.to); err != nil {
			all.Undo()
			return fmt.Errorf("listen %s: option %s: %w", c.socket.Spec, c.option.name, err)
		}
		c.made = true
	}
	return nil
}

// Undo puts the former values back after Apply. Without it, it leaves the sockets
// alone.
func (all Changes) Undo() {
	for i := range all { // in the same order, in which options are set
		if c := &all[i]; c.made {
			c.option.put(c.socket, c.from) // best effort: it had that value before
			c.made = false
		}
	}
}

// PutBack undoes what another process may have applied.
func (all Changes) PutBack() {
	for _, c := range all {
		if now, err := c.option.now(c.socket); err != nil || now != c.from {
			c.option.put(c.socket, c.from) // best effort, as in Undo
		}
	}
}
