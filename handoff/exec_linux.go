package handoff

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

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
	if err := makeRoom(max(len(o.Listen), len(inherited))); err != nil {
		return err
	}
	set, err := gatherSockets(o.Listen, inherited, freed, nil)
	if err != nil {
		return err
	}
	debug.SetGCPercent(-1) // it waits for a collection under way; the next one would look at the runtime's epoll instance
	ownTable()
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

// ownTable gives this thread a table of descriptors of its own. The runtime may have some
// where the sockets have to be, and its other threads end the process when they find a
// socket there.
func ownTable() {
	runtime.LockOSThread()
	unix.Unshare(unix.CLONE_FILES) // best effort: where it is forbidden, execve(2) mostly comes first
}

// placeFrom3 lets the sockets, and no other descriptor, through execve(2) under
// their numbers.
func placeFrom3(sockets []activation.Socket) error {
	at := make([]int, len(sockets)) // the descriptor of each by now
	holder := map[int]int{}         // which has that descriptor
	for i, s := range sockets {
		at[i], holder[s.FD] = s.FD, i
	}
	for i, s := range sockets {
		place := activation.FirstFD + i
		if other, taken := holder[place]; taken && other > i { // out of the way
			fd, err := unix.FcntlInt(uintptr(place), unix.F_DUPFD_CLOEXEC, activation.FirstFD+len(sockets))
			if err != nil {
				return fmt.Errorf("socket %s: fcntl F_DUPFD_CLOEXEC: %w", sockets[other].Name, withLimitHint(err))
			}
			at[other], holder[fd] = fd, other
		}
		if err := passAs(at[i], place); err != nil {
			return fmt.Errorf("socket %s: %w", s.Name, err)
		}
	}
	return nil
}

// passAs has the next program find the descriptor at a place.
func passAs(fd, place int) error {
	if fd == place { // to which dup3 does nothing
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
		return os.NewSyscallError("fcntl F_SETFD", err)
	}
	return os.NewSyscallError("dup3", unix.Dup3(fd, place, 0))
}
