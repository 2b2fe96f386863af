//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A report counts what has been done and what came of it.
type report struct {
	requests, failed, excused int
	classes                   map[string]*row
	steps                     map[string]*row
}

// row is a line of a table.
type row struct {
	times, missed            int // missed: nobody came to the step, or the victim was not there
	forward, back, restarted int
	lostKeeper               int
}

func newReport() *report { return &report{classes: map[string]*row{}, steps: map[string]*row{}} }

func (r *report) add(d deed, o outcome) {
	at(r.classes, d.class()).add(d, o)
	if d.kind == fault {
		at(r.steps, d.step).add(d, o)
	}
}

// at is the row of that name, which may be the first.
func at(table map[string]*row, name string) *row {
	if table[name] == nil {
		table[name] = &row{}
	}
	return table[name]
}

func (r *row) add(d deed, o outcome) {
	r.times++
	if d.kind == fault && !o.hit {
		r.missed++
	}
	switch o.way {
	case forward:
		r.forward++
	case back:
		r.back++
	case restarted:
		r.restarted++
	}
	if o.lostKeeper {
		r.lostKeeper++
	}
}

// String is the tables, and the requests.
func (r *report) String() string {
	var b strings.Builder
	write := func(title string, table map[string]*row) {
		fmt.Fprintf(&b, "\n%-28s %6s %8s %6s %10s %12s %7s\n", title, "times", "forward", "back", "restarted", "keeper lost", "missed")
		for _, name := range slices.Sorted(maps.Keys(table)) {
			n := table[name]
			fmt.Fprintf(&b, "%-28s %6d %8d %6d %10d %12d %7d\n", name, n.times, n.forward, n.back, n.restarted, n.lostKeeper, n.missed)
		}
	}
	write("handoff", r.classes)
	write("fault at", r.steps)
	fmt.Fprintf(&b, "\nrequests: %d, failed: %d, excused, because their own server was killed: %d\n", r.requests, r.failed, r.excused)
	return b.String()
}
