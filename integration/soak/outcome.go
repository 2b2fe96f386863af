//go:build linux

package main

import "fmt"

// way is where a handoff went.
type way string

const (
	forward   way = "forward"   // another server is the main process
	back      way = "back"      // the same one still is
	restarted way = "restarted" // the manager has started the unit anew
)

// An outcome is what came of a handoff.
type outcome struct {
	done
	way        way
	lostKeeper bool
}

func outcomeOf(result done, before, after state) outcome {
	o := outcome{done: result, way: forward, lostKeeper: after.keeper.Process == nil}
	switch {
	case after.invocation != before.invocation:
		o.way = restarted
	case after.main == before.main:
		o.way = back
	}
	return o
}

// check holds the outcome against the deed: what cannot fail has succeeded, what
// cannot succeed has changed nothing, and the exit status tells the truth.
func (o outcome) check(d deed) error {
	killed := o.hit && d.kill
	if o.lostKeeper && !(killed && o.part == aKeeper) {
		return fmt.Errorf("%v: the keeper is gone, and nobody has killed it", o)
	}
	mayRestart := killed && o.part == aServer || d.environment == "GOHTTP_DIE=1"
	if o.way == restarted {
		if !mayRestart {
			return fmt.Errorf("%v: but no server was killed", o)
		}
		return nil
	}
	if o.succeeded != (o.way == forward) && !(killed && o.part == aLauncher) {
		return fmt.Errorf("%v: the exit status of systemctl reload does not tell", o)
	}
	if want := d.mustGo(o.done); want != "" && o.way != want {
		return fmt.Errorf("%v: want %s", o, want)
	}
	return nil
}

// mustGo is the only way for the deed, "" if there are several.
func (d deed) mustGo(result done) way {
	switch {
	case d.kind == readOnly, d.environment == "GOHTTP_FAIL=3", d.environment == "GOHTTP_HANG=1":
		return back
	case d.environment == "GOHTTP_DIE=1", d.kind == fault && result.hit:
		return ""
	}
	return forward
}

func (o outcome) String() string {
	text := string(o.way)
	if o.lostKeeper {
		text += ", keeper lost"
	}
	if !o.succeeded {
		text += ", reload failed"
	}
	return text
}
