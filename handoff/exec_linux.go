package handoff

import (
	"fmt"
	"os"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// Exec binds or inherits what is declared and becomes the command: no keeper,
// no handoff, and the manager's own notify socket. It returns only on error.
func Exec(settings []Setting, command []string) error {
	env := os.Environ()
	o, err := ParseOptions(withSIGPIPE(settings, env), os.LookupEnv)
	if err != nil {
		return err
	}
	path, err := lookPath(command[0], env)
	if err != nil {
		return err
	}
	inherited, err := takeSockets(o.Import)
	if err != nil {
		return err
	}
	o.FDStore = false // without a keeper nobody could tell what becomes of the sockets
	inherited, freed, err := reclaimStored(o, inherited, env)
	if err != nil {
		return err
	}
	set, err := gatherSockets(o.Listen, inherited, freed)
	if err != nil {
		return err
	}
	env, err = withConventions(execEnviron(env, set.Sockets), o, set.Sockets, 1)
	if err == nil {
		err = placeFrom3(set.Sockets)
	}
	if err == nil {
		err = execError(command[0], become(path, command, env, o.IgnoreSIGPIPE))
	}
	set.Undo()
	return err
}

// execEnviron is env with the variables of socket activation made anew.
func execEnviron(env []string, sockets []activation.Socket) []string {
	env = without(env, activation.EnvPID, activation.EnvFDs, activation.EnvNames, activation.EnvPIDFDID)
	return append(append(env, activation.Environ(sockets)...), activation.EnvPID+"=")
}

// placeFrom3 lets the sockets, and no other descriptor, through execve(2) under
// their numbers.
func placeFrom3(sockets []activation.Socket) error {
	moved := make([]int, len(sockets))
	for i, s := range sockets { // out of the way first, so that none lands on another
		var err error
		if moved[i], err = unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, activation.FirstFD+len(sockets)); err != nil {
			return fmt.Errorf("socket %s: fcntl F_DUPFD_CLOEXEC: %w", s.Name, err)
		}
	}
	for i, fd := range moved {
		if err := unix.Dup3(fd, activation.FirstFD+i, 0); err != nil {
			return fmt.Errorf("socket %s: dup3: %w", sockets[i].Name, err)
		}
	}
	return nil
}
