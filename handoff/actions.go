package handoff

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// grace is how long a failed generation may take to finish after its stop
// signal: it may have accepted connections before it failed.
const grace = 5 * second

// launcherTime bounds each of the launcher's two steps with the manager: it waits
// for room in the queue, and for a barrier.
const launcherTime = 3 * publishTime

// beginProbation lets a new generation serve beside the current one for a time.
// The first has nothing beside it, and the manager waits for its readiness.
func (k *keeper) beginProbation() {
	k.say("ready pid=%d after=%v", k.main.pid, time.Since(k.born).Round(time.Millisecond))
	reached("ready seen")
	if k.options.Probation == 0 || k.Generation == 1 {
		k.handle(isTimedOut)
		return
	}
	k.say("on probation for %v", k.options.Probation)
	m := message{kind: msgProbation}
	m.add("time", k.options.Probation.String())
	k.launcher.send(m) // best effort: a dead launcher is noticed by its hang-up
	k.deadline = k.since.Add(k.options.Probation)
}

// tellReady hands the generation to its launcher, to be published.
func (k *keeper) tellReady() {
	k.deadline = k.since.Add(launcherTime)
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
	k.leadPath()
	reached("path led")
	k.changeOver(k.say)
	k.say("current pid=%d", k.main.pid)
	if k.predecessor != nil {
		k.guardPaths()
		k.lookAfterOlder()
	}
	k.tellDone()
}

// leadPath leads the server's notify path to the manager (row 10). While that is
// impossible, say on a full disk, it is tried again: a watchdog depends on it.
func (k *keeper) leadPath() {
	if k.manager == "" { // it reads the PID file
		return
	}
	err := k.notifyPath.leadTo(k.manager)
	if err == nil {
		k.pathFailed = false
		return
	}
	if !k.pathFailed {
		k.say("notify path: %v; trying again, the server's messages are lost until then", err)
	}
	k.pathFailed, k.deadline = true, time.Now().Add(second)
}

// lookAfterOlder makes every older generation ours to look after: those that drain
// already, of which no more than the limit may be left beside the one that is told
// to, and then that one.
func (k *keeper) lookAfterOlder() {
	var draining []*predecessor
	for _, p := range slices.Clone(k.Older) {
		switch {
		case p == k.predecessor:
		case p.keeper != nil || p.server.running():
			draining = append(draining, p)
			p.adopt()
		default: // it has gone since we heard of it
			k.forget(p)
		}
	}
	if n := k.options.MaxDraining; n > 0 && len(draining) >= n {
		for _, p := range draining[:len(draining)-n+1] {
			p.end()
		}
	}
	k.predecessor.commit()
	reached("commit sent")
}

// tellDone ends the launcher's part (row 13) once the previous server has been
// told to stop.
func (k *keeper) tellDone() {
	if k.launcher == nil || k.state != current || k.predecessor != nil && !k.predecessor.told {
		return
	}
	k.receiveLast()
	k.launcher.send(message{kind: msgDone}) // best effort: it is done, whoever knows
	k.partFromLauncher()
	k.settle()
}

// settle makes the keeper small once nothing is left to do but to wait.
func (k *keeper) settle() {
	if k.state == current && k.launcher == nil && k.successor == nil && len(k.Older) == 0 {
		k.endGuard()
		if k.thrifty {
			releaseHeap()
			collectAsUsual()
			k.thrifty = false
		}
		releaseText()
	}
}

// drain is rows 11 and 12 as the previous generation sees them. The answer comes
// last, so that whoever waits for the reload finds the stop signal sent.
func (k *keeper) drain() {
	reached("commit received")
	k.closeSockets()
	for _, p := range k.Older { // the successor's to look after
		p.close()
	}
	k.Older, k.predecessor = nil, nil
	k.finishServer()
	reached("stop signal sent")
	k.successor.send(message{kind: msgReplaced}) // best effort: a dead successor needs no answer
	reached("replaced told")
	k.guard.close() // the spare names are the successor's
	k.awaitEnd()
}

// finishDeserted ends a generation whose manager has died: there is nobody left to
// whom it belongs.
func (k *keeper) finishDeserted() {
	k.say("its manager is gone")
	k.unlink()
	k.closeSockets()
	if k.successor != nil { // which cannot take over either
		k.successor.close()
		k.successor = nil
	}
	k.finishServer()
	k.awaitEnd()
}

func (k *keeper) closeSockets() {
	for _, s := range k.Sockets {
		s.Close()
	}
	for _, d := range k.Own {
		d.close()
	}
	k.Own = nil
	k.Control.Close()
}

// finishServer asks the server to finish. What it says from now on is not for the
// manager.
func (k *keeper) finishServer() {
	if err := k.notifyPath.leadToKeeper(); err != nil {
		k.say("notify path: %v", err)
	}
	if err := k.main.signal(k.options.StopSignal); err != nil {
		k.say("stop: %v", err)
	}
}

// awaitEnd bounds the drain.
func (k *keeper) awaitEnd() {
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

func (k *keeper) why(from state, e event) error {
	switch e {
	case hasFailed:
		return k.failure
	case hasExited:
		when := "as soon as it was ready"
		switch from {
		case starting:
			when = "before it was ready"
		case probation:
			when = "on probation"
		}
		return fmt.Errorf("server %s %s%s", k.main.fate(), when, k.cramped)
	case isTimedOut:
		return fmt.Errorf("not ready after %v; hint: the server must send READY=1 to NOTIFY_SOCKET, sd_notify(3)", k.options.ReadyTimeout)
	case isAbandoned:
		return errors.New("its launcher died")
	case isDeserted:
		return errors.New("its manager died")
	}
	return errors.New("given up by its launcher")
}

// stopFailed asks the server to finish; if none was started, nothing is left.
func (k *keeper) stopFailed() {
	if k.main.pid == 0 {
		k.handle(isEmpty)
		return
	}
	k.rest = k.members().hold()         // before its end takes their parent from them
	k.main.signal(k.options.StopSignal) // best effort: SIGKILL follows
	k.deadline = k.since.Add(grace)
}

// awaitRest looks for what the server left behind: workers that finish what they
// accepted are part of the drain. While some of those that it has found still run,
// there is no need to look for more.
func (k *keeper) awaitRest() {
	if slices.ContainsFunc(k.rest, process.running) {
		k.rest = slices.DeleteFunc(k.rest, closeExited)
		return
	}
	if k.killed {
		k.members().kill()
	}
	k.holdRest()
}

// holdRest waits for whoever is there now. Those that were held until now are closed
// last: by their sessions others are found.
func (k *keeper) holdRest() {
	held := k.members().hold()
	for _, p := range k.rest {
		p.close()
	}
	k.rest = held
	if len(k.rest) == 0 && k.exited {
		k.handle(isEmpty)
	}
}

// members tells the processes of the generation.
func (k *keeper) members() members {
	return newMembers(k.env, k.notifyPath.link, k.cgroup, append([]process{k.Server, k.main}, k.rest...)...)
}

// sayKill tells why a drain ends early.
func (k *keeper) sayKill(e event) {
	switch {
	case k.state == draining && e == isCrowded:
		k.say("drain ends early, too many generations drain, sending KILL; see --max-draining")
	case k.state == draining:
		k.say("drain timeout after %v, sending KILL", k.options.DrainTimeout)
	}
}

// killRest ends every process of the generation. What cannot be killed, because it
// runs as another user, ends with the unit: a failed generation does not wait for it,
// because the next handoff would have to.
func (k *keeper) killRest() {
	if k.killed && k.state == failed {
		k.handle(isEmpty)
		return
	}
	k.killed, k.deadline = true, time.Time{}
	if k.state == failed {
		k.deadline = time.Now().Add(patience)
	}
	k.members().kill()
	if k.exited {
		k.holdRest()
	}
}
