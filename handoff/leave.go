package handoff

import (
	"path/filepath"
	"time"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/pidfile"
	"golang.org/x/sys/unix"
)

// unlink removes the unix sockets of a generation without successor. Those that the
// manager keeps stay where clients look for them: nobody tells us whether the unit is
// started again or was stopped, after which a path at which nobody listens is left.
func (k *keeper) unlink() {
	for _, s := range k.Sockets {
		if s.Stored == "" {
			s.Unlink()
		}
	}
	activation.RemoveSpares(k.Sockets)
	k.Control.Unlink()
	k.guard.close()
}

// leave is the keeper's end; the kernel closes its descriptors.
func (k *keeper) leave() {
	if k.notifyPath != nil {
		k.notifyPath.remove()
	}
	removeCgroup(k.cgroup)
	if k.main.pid != 0 {
		if k.options.PIDFile != "" && !k.undo { // names our server only if nobody followed
			if err := pidfile.Remove(k.options.PIDFile, k.main.pid); err != nil {
				k.say("%v", err)
			}
		}
		k.say("gone pid=%d %s", k.main.pid, k.main.fate())
	}
	if k.undo {
		k.outliveLauncher()
		k.takeBack()
	}
	if run := value(k.env, directoryVariable); k.deserted && k.manager == filepath.Join(run, managerName) {
		clearDeserted(k.env, run)
		return
	}
	removeInstanceDir(k.env, instanceRoots(k.env))
}

// outliveLauncher makes sure that a launcher which is stopped or hung does not hold
// up the manager, and the next handoff. One that is not has heard why it failed,
// and leaves once it sees our end of the channel closed, or kills us for it.
func (k *keeper) outliveLauncher() {
	if k.launcher == nil {
		return
	}
	unix.Shutdown(k.launcher.fd, unix.SHUT_WR) // best effort: it may have left
	if k.launcherProcess.awaitExit(time.Now().Add(patience)); k.launcherProcess.running() {
		k.endLauncher()
		k.launcherProcess.awaitExit(time.Now().Add(patience))
	}
}

// takeBack undoes what a dead launcher had made for a generation that failed.
func (k *keeper) takeBack() {
	for _, s := range k.Bound {
		s.Unlink()
	}
	if k.Generation == 1 {
		k.Control.Unlink()
	}
	k.putBackPIDFile()
}

// partFromLauncher lets go of it: it is dead, or has been told everything.
func (k *keeper) partFromLauncher() {
	k.launcher.close()
	k.launcherProcess.close()
	k.launcher, k.launcherProcess = nil, process{}
}

// endLauncher makes an end of a launcher that does not publish in time: it is
// stopped or hung, and must not tell the manager of this server when the
// generation is gone. Its death is what decides, in readLauncher.
func (k *keeper) endLauncher() {
	k.say("launcher does not go on, sending KILL")
	k.launcherProcess.signal(unix.SIGKILL) // best effort: its hang-up is awaited
}

// putBackPIDFile undoes what a launcher that died had written: before the server
// ends, because systemd reads PIDFile= when its main process exits.
func (k *keeper) putBackPIDFile() {
	path := k.options.PIDFile
	if path == "" {
		return
	}
	if pid, err := pidfile.Read(path); err != nil || pid != k.main.pid {
		return
	}
	var err error
	if p := k.predecessor; p != nil && p.server.pid == k.pidBefore {
		_, err = pidfile.Write(path, p.server.pid)
	} else {
		err = pidfile.Remove(path, k.main.pid)
	}
	if err != nil {
		k.say("%v", err)
	}
}
