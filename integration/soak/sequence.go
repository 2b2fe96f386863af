//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// kind is what happens to a handoff.
type kind string

const (
	plain     kind = "plain"
	fault     kind = "fault" // a process is killed or stopped at a step
	badServer kind = "bad server"
	readOnly  kind = "read-only runtime directory"
	storm     kind = "storm"   // of reloads at once
	garbage   kind = "garbage" // on the control socket
)

// victim is who a fault hits, by its part in the handoff.
type victim string

const (
	launcher       victim = "launcher"
	previousKeeper victim = "previous keeper"
	newKeeper      victim = "new keeper"
	previousServer victim = "previous server"
	newServer      victim = "new server"
	whoIsThere     victim = "who is there" // the one that has reached the step
	manager        victim = "manager"
)

var victims = []victim{launcher, previousKeeper, newKeeper, previousServer, newServer, whoIsThere, manager}

// badServers are what a drop-in sets for the new server: gohttp's faults.
var badServers = []string{"GOHTTP_FAIL=3", "GOHTTP_HANG=1", "GOHTTP_DIE=1", "GOHTTP_STOPPING=1"}

// A deed is one handoff and what is done to it.
type deed struct {
	kind   kind
	step   string // of a fault, and from here on what belongs to one
	victim victim
	kill   bool          // or else stop
	pause  time.Duration // until it is continued

	environment string   // of a bad server
	garbage     [][]byte // a message for each connection
}

// draw is the deed with a number in the sequence of a seed. It depends on nothing
// else, so that a sequence can be entered anywhere.
func draw(seed, number uint64, steps []string) deed {
	r := rand.New(rand.NewPCG(seed, number))
	switch n := r.IntN(100); {
	case n < 50:
		return deed{kind: plain}
	case n < 85:
		return drawFault(r, steps)
	case n < 91:
		return deed{kind: badServer, environment: badServers[r.IntN(len(badServers))]}
	case n < 93:
		return deed{kind: readOnly}
	case n < 96:
		return deed{kind: storm}
	}
	return deed{kind: garbage, garbage: drawGarbage(r)}
}

func drawFault(r *rand.Rand, steps []string) deed {
	d := deed{
		kind:   fault,
		step:   steps[r.IntN(len(steps))],
		victim: victims[r.IntN(len(victims))],
		kill:   r.IntN(2) == 0,
	}
	if d.victim == manager { // its death is the end of everything
		d.kill = false
	}
	if d.kill {
		return d
	}
	longest := 4 * time.Second // longer than any deadline between our processes
	if d.victim == previousServer || d.victim == newServer {
		longest = 2 * time.Second // its drain must not end meanwhile
	}
	d.pause = 50*time.Millisecond + time.Duration(r.Int64N(int64(longest)))
	return d
}

// drawGarbage is more connections than the keeper holds at once.
func drawGarbage(r *rand.Rand) [][]byte {
	messages := make([][]byte, 1+r.IntN(40))
	for i := range messages {
		messages[i] = make([]byte, r.IntN(3000))
		for j := range messages[i] {
			messages[i][j] = byte(r.Uint32())
		}
	}
	return messages
}

// class is what the report counts together.
func (d deed) class() string {
	switch d.kind {
	case fault:
		return d.signalName() + " " + string(d.victim)
	case badServer:
		return d.environment
	}
	return string(d.kind)
}

func (d deed) signalName() string {
	if d.kill {
		return "KILL"
	}
	return "STOP"
}

func (d deed) String() string {
	if d.kind != fault {
		return d.class()
	}
	text := fmt.Sprintf("%s at %q", d.class(), d.step)
	if !d.kill {
		text += fmt.Sprintf(" for %v", d.pause.Round(time.Millisecond))
	}
	return text
}
