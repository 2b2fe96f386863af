package handoff

import (
	"cmp"
	"os"
	"time"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// giveUp takes back everything that was made, in reverse.
func (l *launcher) giveUp() {
	l.restorePIDFile()
	if l.probation { // the status said what is over now
		l.tellManager(notify.Message{l.predecessor.status()})
	}
	if l.keeperChannel != nil {
		l.endKeeper()
		clearNotifyPath(l.dir, l.Generation)
	}
	removeCgroup(l.cgroup)
	if l.private {
		os.Remove(l.dir) // best effort: it is empty
	}
	activation.Set{Bound: l.Bound, Changed: l.changed}.Undo()
	if l.predecessor == nil && l.Control.Spec != "" {
		l.Control.Unlink()
	}
	if l.predecessor == nil {
		removeInstanceDir(l.env, instanceRoots(l.env))
	}
	if l.reporter != nil && l.reporter.hungUp() { // who started us was killed, and its last keeper may have been, by us
		clearDeserted(l.env, value(l.env, directoryVariable))
	}
}

func (l *launcher) restorePIDFile() {
	if l.pidFile == nil {
		return
	}
	if err := l.pidFile.Restore(); err != nil {
		say("%v", err)
	}
	l.pidFile = nil
}

// endKeeper waits until the keeper has ended its generation and left, so that
// nothing runs on when the manager learns of the failure. If it cannot, we do so: the
// server may have accepted connections.
func (l *launcher) endKeeper() {
	l.keeperChannel.send(message{kind: msgAbort}) // best effort: it may have failed by itself
	deadline := time.Now().Add(grace + patience)
	for {
		m, err := l.hear(deadline)
		m.close()
		if err != nil {
			break
		}
	}
	l.keeper.signal(unix.SIGKILL) // best effort: it has left, or does not answer
	l.keeper.awaitExit(time.Now().Add(patience))
	if server := cmp.Or(l.main, l.Server); server.pid != 0 {
		server.signal(l.options.StopSignal) // best effort: SIGKILL follows
		server.awaitExit(time.Now().Add(grace))
	}
	newMembers(l.env, notifyLink(l.dir, l.Generation), l.cgroup, l.Server, l.main).kill()
}
