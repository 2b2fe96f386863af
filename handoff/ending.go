package handoff

import (
	"slices"
	"time"
)

// grace is how long a failed generation may take to finish after its stop
// signal: it may have accepted connections before it failed.
const grace = 5 * second

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
