package handoff

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

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
