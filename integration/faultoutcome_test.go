//go:build linux

package integration

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/load"
	"github.com/flipexec/flipexec/integration/rig"
	"golang.org/x/sys/unix"
)

// A faultCell is one row: a fault for one process at one step.
type faultCell struct {
	step     faultStep
	victim   string
	fault    string
	obstacle *obstacle // nil for a signal, or a stop
}

func (c faultCell) name() string { return c.step.name + "/" + c.victim + "/" + c.fault }

// position is the place of a step in a handoff.
func position(step string) int {
	return slices.IndexFunc(faultSteps, func(s faultStep) bool { return s.name == step })
}

func (c faultCell) position() int { return position(c.step.name) }

// outcome is what FAULTS.md says of a cell.
type outcome struct{ reload, serves, main, file, paths, processes, descriptors, next string }

func (c faultCell) row(o outcome) string {
	return "| " + strings.Join([]string{c.step.name, c.step.at, c.victim, c.fault,
		o.reload, o.serves, o.main, o.file, o.paths, o.processes, o.descriptors, o.next}, " | ") + " |\n"
}

// run does what the row says, and looks.
func (c faultCell) run(t *testing.T, r *faultRig) outcome {
	t.Cleanup(func() {
		if t.Failed() || testing.Verbose() {
			t.Logf("journal:\n%s", r.Journal("web.service"))
		}
	})
	if c.obstacle == readOnly || c.obstacle == noSpace {
		inRig(t, r.Rig, "systemctl stop web; mkdir -p /run/web && mount -t tmpfs -o size=256k,nr_inodes=40,mode=755 tmpfs /run/web")
		t.Cleanup(func() { inRig(t, r.Rig, "systemctl kill -s KILL web; systemctl stop web; umount /run/web") })
	}
	r.begin(t)
	first := mainPID(t, r.Rig)
	keeper := r.members(t)["keeper"][0]
	if err := os.WriteFile(r.Path(faultFiles+"/"+c.step.name), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	load := c.startLoad(r)
	go func() {
		_, err := r.Systemctl("reload", "web")
		done <- err
	}()
	at := r.awaitStep(t, c.step.name)
	r.awaitOthers(t, c.step.name, first)
	if c.fault == "systemctl stop" {
		return c.stop(t, r, at, done)
	}
	victim := at
	if c.victim != c.step.at && c.victim != "unit" {
		victim = r.find(t, c.victim, first, keeper.pid)
	}
	c.strike(t, r, victim)
	if victim != at || c.obstacle != nil {
		signalHost(t, at, unix.SIGCONT)
	}
	o := outcome{reload: c.awaitReload(t, done)}
	if c.obstacle != nil && c.obstacle.undo != nil {
		c.obstacle.undo(t, r, victim)
	}
	if c.fault == "STOP" {
		signalHost(t, victim, unix.SIGCONT)
	}
	r.settle(t)
	r.look(t, &o, first)
	if load != nil {
		if report := load.Stop(); report.Failures() > 0 || report.OK == 0 {
			t.Errorf("requests: %v", report)
		}
	}
	t.Log(c.row(o))
	c.check(t, o)
	return o
}

// check holds the row against the design, whatever FAULTS.md says: back until the
// manager has been told, forward from then on, and no reload that lies.
func (c faultCell) check(t *testing.T, o outcome) {
	t.Helper()
	forward := c.position() >= position("announced")
	want := map[bool]string{false: "1 or 2", true: "2"}[forward]
	switch {
	case c.victim == launcher && c.obstacle == nil && !forward:
		want = "1"
	case c.victim == newServer && c.fault == "KILL":
		want = map[bool]string{false: "1", true: "anew"}[forward]
	case c.victim == oldServer && c.fault == "KILL" && !forward:
		want = "anew"
	}
	if !strings.Contains(want, o.serves) {
		t.Errorf("serves: got %s, want %s", o.serves, want)
	}
	if o.reload == "done" && o.serves != "2" || o.reload == "fails" && o.serves == "2" && c.victim != launcher {
		t.Errorf("reload: got %q, though %s serves", o.reload, o.serves)
	}
}

// startLoad begins requests of which none may fail, nil where a server is the
// victim.
func (c faultCell) startLoad(r *faultRig) *load.Generator {
	if c.victim == oldServer || c.victim == newServer || c.fault == "systemctl stop" {
		return nil
	}
	return load.Start(load.Config{Dial: r.Dial, Network: "tcp", Addr: "127.0.0.1:80", Rate: 50, Timeout: 20 * time.Second})
}

// awaitOthers waits for what others do meanwhile, where the outcome depends on it.
func (r *faultRig) awaitOthers(t *testing.T, step string, first int) {
	t.Helper()
	switch step {
	case "announced":
		rig.WaitFor(t, "systemd has taken the main PID", 10*time.Second, func() bool { return mainPID(t, r.Rig) != first })
	case "replaced told":
		rig.WaitFor(t, "the launcher has left", 10*time.Second, func() bool { return len(r.members(t)[launcher]) == 0 })
	}
}

// find is a process by its name in the table, as the host numbers it.
func (r *faultRig) find(t *testing.T, name string, server, keeper int) int {
	t.Helper()
	m := r.members(t)
	list, old := m["server"], server
	switch name {
	case launcher:
		if len(m[launcher]) != 1 {
			t.Fatalf("launchers: %v", m[launcher])
		}
		return m[launcher][0].host
	case oldKeeper, newKeeper:
		list, old = m["keeper"], keeper
	}
	for _, p := range list {
		if (p.pid == old) == (name == oldServer || name == oldKeeper) {
			return p.host
		}
	}
	t.Fatalf("%s: not among %v", name, m)
	return 0
}

// strike lets the fault happen, and waits until it has.
func (c faultCell) strike(t *testing.T, r *faultRig, victim int) {
	t.Helper()
	struck, _ := readMember(victim)
	switch {
	case c.obstacle != nil:
		c.obstacle.do(t, r, victim)
		return
	case c.fault == "KILL":
		signalHost(t, victim, unix.SIGKILL)
	default:
		signalHost(t, victim, unix.SIGSTOP)
	}
	rig.WaitFor(t, c.fault+" has come into effect", 10*time.Second, func() bool { return stopped(victim) })
	told := c.position() >= position("announced")
	if c.fault == "KILL" && (c.victim == oldServer && !told || c.victim == newServer && told) {
		rig.WaitFor(t, "systemd has noticed", 10*time.Second, func() bool { return mainPID(t, r.Rig) != struck.pid })
	}
}

func (c faultCell) awaitReload(t *testing.T, done chan error) string {
	t.Helper()
	select {
	case err := <-done:
		if err == nil {
			return "done"
		}
		return "fails"
	case <-time.After(40 * time.Second):
		t.Fatal("systemctl reload does not come back")
		return ""
	}
}

// stop is systemctl stop at the step: everything goes, and nothing is left.
func (c faultCell) stop(t *testing.T, r *faultRig, at int, done chan error) outcome {
	t.Helper()
	stop := make(chan error, 1)
	go func() {
		_, err := r.Systemctl("stop", "web")
		stop <- err
	}()
	rig.WaitFor(t, "the unit is being stopped", 20*time.Second, func() bool {
		return show(r.Rig, "ActiveState") != "reloading" && show(r.Rig, "ActiveState") != "active"
	})
	signalHost(t, at, unix.SIGCONT)
	if err := <-stop; err != nil {
		t.Error(err)
	}
	c.awaitReload(t, done) // with whatever result: it may have been over
	o := outcome{reload: "–", serves: "nobody", main: "–", file: "–", paths: "gone", descriptors: "–", next: "–"}
	// A control process that a stop ends is a failure for systemd, whatever it
	// is: by the signal, or by the status of a launcher that has noticed.
	if result := show(r.Rig, "Result"); result != "success" && result != "signal" && result != "exit-code" {
		t.Errorf("the unit's result is %s", result)
	}
	left := 0
	for _, list := range r.members(t) {
		left += len(list)
	}
	o.processes = strconv.Itoa(left)
	for _, path := range []string{"/run/old.sock", "/run/new.sock", "/run/web"} {
		if _, err := os.Lstat(r.Path(path)); err == nil {
			o.paths = "left: " + path
			t.Errorf("%s is left", path)
		}
	}
	return o
}
