package handoff

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/flipexec/flipexec/pidfile"
	"golang.org/x/sys/unix"
)

// grace is how long a failed generation may take to finish after its stop
// signal: it may have accepted connections before it failed.
const grace = 5 * second

// tellReady hands the generation to its launcher, to be published.
func (k *keeper) tellReady() {
	k.say("ready pid=%d after=%v", k.main.pid, time.Since(k.born).Round(time.Millisecond))
	m := message{kind: msgReady}
	m.addFD("server", strconv.Itoa(k.main.pid), k.main.fd)
	if k.launcher.send(m) != nil {
		k.handle(isAbandoned)
	}
}

// commit makes the generation current (rows 10 and 11). Nothing can stop it: the
// manager follows the new server, whose sockets serve with or without a notify
// path.
func (k *keeper) commit() {
	if err := k.notifyPath.leadTo(k.manager); err != nil {
		k.say("notify path: %v", err)
	}
	for _, s := range k.Dropped {
		s.Unlink()
	}
	k.Bound, k.Dropped = nil, nil
	k.say("current pid=%d", k.main.pid)
	if k.predecessor != nil {
		k.predecessor.commit()
	}
	k.tellDone()
}

// tellDone ends the launcher's part (row 13) once the previous server has been
// told to stop.
func (k *keeper) tellDone() {
	if k.launcher == nil || k.state != current || k.predecessor != nil && !k.predecessor.told {
		return
	}
	k.receiveNotifications()                // what came before the path led elsewhere
	k.launcher.send(message{kind: msgDone}) // best effort: it is done, whoever knows
	k.launcher.close()
	k.launcher = nil
	k.settle()
}

// settle makes the keeper small once nothing is left to do but to wait.
func (k *keeper) settle() {
	if k.state == current && k.launcher == nil && k.predecessor == nil {
		releaseText()
	}
}

// drain is rows 11 and 12 as the previous generation sees them. The answer comes
// last, so that whoever waits for the reload finds the stop signal sent.
func (k *keeper) drain() {
	for _, s := range k.Sockets {
		s.Close()
	}
	k.Control.Close()
	if err := k.notifyPath.leadToKeeper(); err != nil {
		k.say("notify path: %v", err)
	}
	if err := k.main.signal(k.options.StopSignal); err != nil {
		k.say("stop: %v", err)
	}
	k.successor.send(message{kind: msgReplaced}) // best effort: a dead successor needs no answer
	if k.options.DrainTimeout > 0 {
		k.deadline = k.since.Add(k.options.DrainTimeout)
	}
	k.say("draining pid=%d signal=%s timeout=%s", k.main.pid, signalName(k.options.StopSignal), limit(k.options.DrainTimeout))
	if k.exited { // while the successor was starting
		k.handle(hasExited)
	}
}

// limit prints a timeout, of which 0 is none.
func limit(d time.Duration) string {
	if d == 0 {
		return "none"
	}
	return d.String()
}

// fail tells the launcher, which says why. Without one the keeper does.
func (k *keeper) fail(from state, e event) {
	k.undo = true
	reason := k.why(from, e)
	m := message{kind: msgFailed}
	m.add("reason", reason.Error())
	m.add("code", strconv.Itoa(ExitCode(reason)))
	if k.launcher != nil && k.launcher.send(m) == nil {
		return
	}
	k.say("failed: %v", reason)
	k.putBackPIDFile()
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
	if k.predecessor != nil {
		_, err = pidfile.Write(path, k.predecessor.server.pid)
	} else {
		err = pidfile.Remove(path, k.main.pid)
	}
	if err != nil {
		k.say("%v", err)
	}
}

func (k *keeper) why(from state, e event) error {
	switch e {
	case hasFailed:
		return k.failure
	case hasExited:
		if from != starting {
			return fmt.Errorf("server %s as soon as it was ready", k.main.fate())
		}
		return fmt.Errorf("server %s before it was ready", k.main.fate())
	case isTimedOut:
		return fmt.Errorf("not ready after %v; hint: the server must send READY=1 to NOTIFY_SOCKET, sd_notify(3)", k.options.ReadyTimeout)
	case isAbandoned:
		return errors.New("its launcher died")
	}
	return errors.New("given up by its launcher")
}

// stopFailed asks the server to finish; if none was started, nothing is left.
func (k *keeper) stopFailed() {
	if k.main.pid == 0 {
		k.handle(isEmpty)
		return
	}
	k.main.signal(k.options.StopSignal) // best effort: SIGKILL follows
	k.deadline = k.since.Add(grace)
}

// awaitRest looks for what the server left behind: workers that finish what they
// accepted are part of the drain.
func (k *keeper) awaitRest() {
	for _, p := range k.rest {
		p.close()
	}
	k.rest = members(k.Server)
	if k.main.pid != k.Server.pid {
		k.rest = append(k.rest, members(k.main)...)
	}
	if k.killed {
		for _, p := range k.rest {
			p.signal(unix.SIGKILL) // best effort, as in killSession
		}
	}
	if len(k.rest) == 0 && k.exited {
		k.handle(isEmpty)
	}
}

// killRest ends every process of the generation.
func (k *keeper) killRest() {
	if k.state == draining {
		k.say("drain timeout after %v, sending KILL", k.options.DrainTimeout)
	}
	k.killed, k.deadline = true, time.Time{}
	killSession(k.Server)
	if k.main.pid != k.Server.pid {
		killSession(k.main)
	}
	if k.exited {
		k.awaitRest()
	}
}

// unlink removes the unix sockets of a generation without successor.
func (k *keeper) unlink() {
	for _, s := range k.Sockets {
		s.Unlink()
	}
	k.Control.Unlink()
}

// leave is the keeper's end; the kernel closes its descriptors.
func (k *keeper) leave() {
	if k.notifyPath != nil {
		k.notifyPath.remove()
	}
	if k.undo && k.launcher == nil { // a living launcher does it
		for _, s := range k.Bound {
			s.Unlink()
		}
		if k.Generation == 1 {
			k.Control.Unlink()
		}
	}
	if k.main.pid == 0 {
		return
	}
	if k.options.PIDFile != "" && !k.undo { // names our server only if nobody followed
		if err := pidfile.Remove(k.options.PIDFile, k.main.pid); err != nil {
			k.say("%v", err)
		}
	}
	k.say("gone pid=%d %s", k.main.pid, k.main.fate())
}
