package activation

// NewPassed is what Take makes of a process's sockets.
func NewPassed(sockets ...Socket) *Passed { return &Passed{sockets} }
