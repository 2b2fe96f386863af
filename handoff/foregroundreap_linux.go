package handoff

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// reap waits for every child that has changed: our own, and what was left without a
// parent anywhere below us.
func (f *foreground) reap() {
	f.hear(maxQueue) // what they said before their end
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG|unix.WUNTRACED, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			break
		}
		f.childChanged(pid, ws)
	}
	if f.leaving {
		f.awaitGenerations()
	}
}

func (f *foreground) childChanged(pid int, ws unix.WaitStatus) {
	if ws.Stopped() {
		f.childStopped(pid, ws.StopSignal())
		return
	}
	f.forgetAsleep(pid)
	switch pid {
	case f.lent:
		f.noteTyped(ws)
		f.reclaimTerminal()
	case f.owed:
		f.owed = 0
	}
	switch {
	case f.launch != nil && pid == f.launch.pid:
		f.launcherExited(ws)
	case pid == f.main.pid && !f.exited:
		f.serverExited(ws)
	}
}

// mainExited is for a main process that is nobody's child but its own manager's: its
// status is somebody else's to fetch.
func (f *foreground) mainExited() {
	f.reap()
	if f.exited || f.main.running() {
		return
	}
	ws, ok := f.main.exitStatus()
	if !ok {
		ws = exited(ExitFailed)
	}
	f.serverExited(ws)
}

// serverExited ends us, unless a handoff is about to name another server.
func (f *foreground) serverExited(ws unix.WaitStatus) {
	f.exited, f.status = true, ws
	if f.launch == nil {
		f.leave(ws)
	}
}

// leave is the end: draining generations get their time, the rest is told to finish.
func (f *foreground) leave(ws unix.WaitStatus) {
	f.leaving, f.again, f.status = true, false, ws
	if len(f.keepers()) > 0 {
		f.tell(notify.Message{{Key: "STOPPING", Value: "1"}})
	}
	f.awaitGenerations()
}

// awaitGenerations goes on once no keeper is left.
func (f *foreground) awaitGenerations() {
	switch {
	case len(f.keepers()) > 0:
	case len(f.descendants()) == 0:
		f.left = true
	case f.ending == 0:
		f.endRest()
	}
}

// endRest ends what the servers left behind: first with a word, then without.
func (f *foreground) endRest() {
	switch f.ending {
	case 0:
		f.signalRest(unix.SIGTERM, map[sighting]bool{})
	case 1: // again while there is somebody new: one may fork while we look
		for signalled, n := map[sighting]bool{}, 0; f.signalRest(unix.SIGKILL, signalled) && n < maxLooks; n++ {
		}
	case 2: // what cannot be killed is not ours
		f.left = true
		return
	}
	f.ending++
	f.deadline = time.Now().Add(grace)
}

// signalRest signals all that are left, and reports whether some are new.
func (f *foreground) signalRest(sig unix.Signal, signalled map[sighting]bool) (more bool) {
	for _, s := range f.descendants() {
		p, ok := s.hold()
		if !ok {
			continue
		}
		p.signal(sig)          // best effort: it may run as another user
		p.signal(unix.SIGCONT) // or it would not hear
		p.close()
		more = more || !signalled[s]
		signalled[s] = true
	}
	return more
}

// keepers are those of our children that look after a generation.
func (f *foreground) keepers() (pids []int) {
	for _, pid := range listProcesses() {
		if st, err := readStat(pid); err == nil && st.parent == os.Getpid() && st.state != 'Z' && isKeeper(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func isKeeper(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.HasPrefix(string(line), keeperRole+"\x00")
}

// descendants are all processes below us.
func (f *foreground) descendants() (seen []sighting) {
	for _, pid := range listProcesses() {
		if st, err := readStat(pid); err == nil && st.state != 'Z' && descends(pid) {
			seen = append(seen, sighting{pid, st.started})
		}
	}
	return seen
}
