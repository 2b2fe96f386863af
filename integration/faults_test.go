//go:build linux

package integration

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// The processes of a handoff, as rows of FAULTS.md call them.
const (
	launcher  = "launcher"
	oldKeeper = "old keeper"
	newKeeper = "new keeper"
	oldServer = "old server"
	newServer = "new server"
)

// A faultStep is a place in the code of package handoff where a process can be
// made to stop, reached("...") there.
type faultStep struct {
	name string
	at   string   // who stops there
	also []string // who else is alive, and waits for what comes next
}

// faultSteps are in the order of a handoff: design, section 5.
var faultSteps = []faultStep{
	{"asked for time", launcher, []string{oldKeeper, oldServer}},
	{"connected", launcher, []string{oldKeeper, oldServer}},
	{"asked for the estate", oldKeeper, []string{launcher, oldServer}},
	{"estate sent", oldKeeper, []string{oldServer}}, // the launcher goes on
	{"estate received", launcher, []string{oldKeeper, oldServer}},
	{"gathered", launcher, []string{oldKeeper, oldServer}},
	{"keeper started", launcher, []string{oldKeeper, newKeeper, oldServer}},
	{"estate passed on", launcher, []string{oldKeeper, oldServer}}, // the keeper goes on
	{"stage started", newKeeper, []string{launcher, oldKeeper, oldServer, newServer}},
	{"started told", newKeeper, []string{launcher, oldKeeper, oldServer, newServer}},
	{"stage may go", newServer, []string{launcher, oldKeeper, newKeeper, oldServer}},
	{"ready seen", newKeeper, []string{launcher, oldKeeper, oldServer, newServer}},
	{"ready heard", launcher, []string{oldKeeper, newKeeper, oldServer, newServer}},
	{"PID file written", launcher, []string{oldKeeper, newKeeper, oldServer, newServer}},
	{"announced", launcher, []string{oldKeeper, newKeeper, oldServer, newServer}},
	{"confirmed", launcher, []string{oldKeeper, newKeeper, oldServer, newServer}},
	{"path led", newKeeper, []string{launcher, oldKeeper, oldServer, newServer}},
	{"commit sent", newKeeper, []string{launcher, newServer}}, // the old keeper goes on
	{"commit received", oldKeeper, []string{launcher, newKeeper, oldServer, newServer}},
	{"stop signal sent", oldKeeper, []string{launcher, newKeeper, newServer}},
	{"replaced told", oldKeeper, []string{newKeeper, newServer}}, // the launcher leaves
	{"done heard", launcher, []string{newKeeper, newServer}},
}

// TestEveryStepOfTheCodeIsARow: a step that nobody breaks would be a hole in the
// table.
func TestEveryStepOfTheCodeIsARow(t *testing.T) {
	var rows, code []string
	for _, s := range faultSteps {
		rows = append(rows, s.name)
	}
	files, err := os.ReadDir("../handoff")
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`reached\("(.+)"\)`)
	for _, f := range files {
		if f.IsDir() {
			continue
		}
		text, err := os.ReadFile("../handoff/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllSubmatch(text, -1) {
			code = append(code, string(m[1]))
		}
	}
	slices.Sort(rows)
	slices.Sort(code)
	if !slices.Equal(rows, code) {
		t.Errorf("steps of the table: %q\nsteps of the code:  %q", rows, code)
	}
}

// TestFaults is invariants I2, I3, I4 and I6 at every step of a handoff and for
// every process that is alive in it. It writes FAULTS.md, and fails if the file in
// the repository says something else (FLIPEXEC_UPDATE=1 replaces it).
func TestFaults(t *testing.T) {
	t.Parallel()
	pool := make(chan *faultRig, rigs)
	for range rigs {
		pool <- nil
	}
	cells := faultCells()
	var names []string
	for _, c := range cells {
		names = append(names, c.name())
	}
	report := newTable("FAULTS.md", faultsHead, names)
	t.Run("at", func(t *testing.T) {
		group := t
		for _, c := range cells {
			t.Run(c.name(), func(t *testing.T) {
				t.Parallel()
				r := <-pool
				defer func() { pool <- r }()
				if r == nil {
					r = bootFaults(t, group)
				}
				report.add(c.name(), c.row(c.run(t, r)))
			})
		}
	})
	report.check(t)
}

// faultCells are all rows of the table, in its order.
func faultCells() (cells []faultCell) {
	for _, s := range faultSteps {
		for _, victim := range append([]string{s.at}, s.also...) {
			for _, f := range []string{"KILL", "STOP"} {
				cells = append(cells, faultCell{step: s, victim: victim, fault: f})
			}
		}
		cells = append(cells, faultCell{step: s, victim: "unit", fault: "systemctl stop"})
	}
	return append(cells, obstacleCells()...)
}

const faultsHead = `# What happens when something fails in the middle of a handoff

Written by TestFaults on real systemd. The test of a row is
TestFaults/at/STEP/PROCESS/FAULT, with "_" for blanks. A process is stopped exactly at the step (which of
them "at" tells), then PROCESS gets the fault: KILL, STOP (until the handoff is over,
and then CONT), or what the row says. Generation 1 is the running one; the reload
that starts generation 2 adds a unix socket and drops another. Looked at when
everything has settled:

- reload: what systemctl reload says ("–" of a unit that crashes or is stopped
  meanwhile: that depends on when);
- serves: the generation that answers, alone; "anew" is one that systemd started
  after the crash of its main process;
- main PID, PID file: whose they are;
- paths: of the unix sockets, as generation 1 or 2 declares them;
- processes, descriptors: of the unit, and of its keeper; "+0" is as many as an
  undisturbed generation has;
- next: the next systemctl reload.

| step | at | process | fault | reload | serves | main PID | PID file | paths | processes | descriptors | next |
|---|---|---|---|---|---|---|---|---|---|---|---|
`
