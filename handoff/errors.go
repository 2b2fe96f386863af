package handoff

import "errors"

// Exit codes are an interface: scripts and ExecReload= lines rely on them.
const (
	ExitFailed     = 1   // it failed and nothing has changed
	ExitUsage      = 2   // the command line or an environment variable is wrong
	ExitBusy       = 3   // another handoff is under way
	ExitNotRunning = 4   // nothing is running
	ExitCannotRun  = 126 // the command cannot be run
	ExitNotFound   = 127 // the command is not found
)

// An Error is an error with an exit code other than ExitFailed.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// ExitCode is the exit code for err.
func ExitCode(err error) int {
	var e *Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Code
	}
	return ExitFailed
}
