package handoff

import (
	"fmt"
	"strings"
	"testing"
)

var (
	allStates = []state{starting, probation, publishing, announced, current, draining, failed, gone}
	allEvents = []event{isReady, hasFailed, hasExited, isAnnounced, isPublished, isAborted, isAbandoned, isReplaced, isCrowded, isTimedOut, isEmpty}
)

// ignored says, for every event that a state does not list, why that is right.
var ignored = map[state]map[event]string{
	starting: {
		isAnnounced: "the launcher announces what is ready",
		isPublished: "the launcher publishes what is ready",
		isReplaced:  "only a current generation has a successor",
		isEmpty:     "is asked only of what drains or failed",
		isCrowded:   "only what drains can make room",
	},
	probation: {
		isReady:     "was said already",
		isAnnounced: "the launcher announces what has proved itself",
		isPublished: "the launcher publishes what has proved itself",
		isReplaced:  "only a current generation has a successor",
		isEmpty:     "is asked only of what drains or failed",
		isCrowded:   "only what drains can make room",
	},
	publishing: {
		isReady:    "was said already",
		isReplaced: "only a current generation has a successor",
		isEmpty:    "is asked only of what drains or failed",
		isCrowded:  "only what drains can make room",
	},
	announced: {
		isReady:     "was said already",
		isAnnounced: "was said already",
		isReplaced:  "only a current generation has a successor",
		isEmpty:     "is asked only of what drains or failed",
		isCrowded:   "only what drains can make room",
	},
	current: {
		isReady:     "is said to the manager",
		hasFailed:   "is said to the manager",
		isAnnounced: "was said already",
		isPublished: "was said already",
		isAborted:   "no way back: the manager follows this server",
		isAbandoned: "no way back: the manager follows this server",
		isEmpty:     "is asked only of what drains or failed",
		isCrowded:   "only what drains can make room",
	},
	draining: {
		isReady:     "too late to matter",
		hasFailed:   "it is told to stop anyway",
		isAnnounced: "was said already",
		isPublished: "was said already",
		isAborted:   "its launcher has left",
		isAbandoned: "its launcher has left",
		isReplaced:  "was said already",
	},
	failed: {
		isReady:     "too late: the launcher has the reason",
		hasFailed:   "the first reason counts",
		isAnnounced: "too late: the launcher will hear why",
		isPublished: "too late: the launcher takes it back",
		isAborted:   "it is ending",
		isAbandoned: "it is ending",
		isReplaced:  "only a current generation has a successor",
		isCrowded:   "only what drains can make room",
	},
	gone: {
		isReady: "gone", hasFailed: "gone", hasExited: "gone", isAnnounced: "gone", isPublished: "gone", isAborted: "gone",
		isAbandoned: "gone", isReplaced: "gone", isCrowded: "gone", isTimedOut: "gone", isEmpty: "gone",
	},
}

func TestEveryEventIsListedOrIgnoredForAReason(t *testing.T) {
	for _, s := range allStates {
		for _, e := range allEvents {
			_, listed := next(s, e)
			reason := ignored[s][e]
			if listed == (reason != "") {
				t.Errorf("%v, %v: listed: %v, and ignored because %q", s, e, listed, reason)
			}
		}
	}
}

// life is the table as a person reads it. A change of the table shows here.
const life = `
starting     ready      → on probation
starting     failed     → failed
starting     exited     → failed
starting     aborted    → failed
starting     abandoned  → failed
starting     timed out  → failed
on probation failed     → failed
on probation exited     → failed
on probation aborted    → failed
on probation abandoned  → failed
on probation timed out  → publishing
publishing   failed     → failed
publishing   exited     → failed
publishing   announced  → announced
publishing   published  → current
publishing   aborted    → failed
publishing   abandoned  → failed
publishing   timed out  → publishing
announced    failed     → failed
announced    exited     → failed
announced    published  → current
announced    aborted    → failed
announced    abandoned  → current
announced    timed out  → current
current      exited     → gone
current      replaced   → draining
current      timed out  → current
draining     exited     → draining
draining     crowded    → draining
draining     timed out  → draining
draining     empty      → gone
failed       exited     → failed
failed       timed out  → failed
failed       empty      → gone
`

func TestTableIsTheLifeThatIsDocumented(t *testing.T) {
	var b strings.Builder
	for _, s := range allStates {
		for _, e := range allEvents {
			if to, ok := next(s, e); ok {
				fmt.Fprintf(&b, "%-12v %-10v → %v\n", s, e, to.next)
			}
		}
	}
	if got, want := b.String(), strings.TrimPrefix(life, "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// reachable is every state that can follow s.
func reachable(s state) map[state]bool {
	seen := map[state]bool{s: true}
	for queue := []state{s}; len(queue) > 0; queue = queue[1:] {
		for _, to := range transitions[queue[0]] {
			if !seen[to.next] {
				seen[to.next] = true
				queue = append(queue, to.next)
			}
		}
	}
	return seen
}

func TestEveryStateEndsInGone(t *testing.T) {
	for _, s := range allStates {
		if !reachable(s)[gone] {
			t.Errorf("%v never ends", s)
		}
	}
	if n := len(transitions[gone]); n != 0 {
		t.Errorf("gone has %d ways out, want none", n)
	}
}

func TestThereIsNoWayBack(t *testing.T) {
	for _, s := range []state{current, draining} {
		for _, before := range []state{starting, probation, publishing, announced, failed} {
			if reachable(s)[before] {
				t.Errorf("%v leads to %v", s, before)
			}
		}
	}
	for _, s := range []state{current, draining} {
		if reachable(failed)[s] {
			t.Errorf("failed leads to %v", s)
		}
	}
}

func TestEveryFailureBeforePublicationEndsTheGeneration(t *testing.T) {
	for _, s := range []state{starting, probation, publishing} {
		for _, e := range []event{hasFailed, hasExited, isAborted, isAbandoned} {
			got, ok := next(s, e)
			if !ok || got.next != failed || got.do != stopFailed && got.do != killFailed {
				t.Errorf("%v, %v: got %v, want it to end", s, e, got.next)
			}
		}
	}
}
