package activation

// A Place remembers what was at the path of a unix socket before somebody else, who
// may die before it can tell of it, binds there.
type Place struct {
	spec     Spec
	dev, ino uint64 // 0 if there was nothing
}

// LookAt remembers what is at the path of spec, and reports whether spec has one.
func LookAt(spec Spec) (Place, bool) { return lookAt(spec) }

// RemoveStale removes the socket at the path of spec if nobody listens to it any more,
// by the rule by which [Bind] would replace it.
func RemoveStale(spec Spec) error {
	return Place{spec: spec}.tidy()
}

// Tidy removes the socket that was bound at the path since LookAt, if nobody
// listens to it: by the rule by which [Bind] would replace it.
func (p Place) Tidy() error { return p.tidy() }
