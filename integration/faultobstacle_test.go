//go:build linux

package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
	"golang.org/x/sys/unix"
)

// An obstacle is a fault that is no signal: do is called when somebody has stopped
// at the step, and undo when the reload is over.
type obstacle struct {
	name     string
	do, undo func(t *testing.T, r *faultRig, victim int)
}

// inShell is a shell command in the rig.
func inShell(script string) func(*testing.T, *faultRig, int) {
	return func(t *testing.T, r *faultRig, _ int) { inRig(t, r.Rig, script) }
}

// Of the runtime directory, which is a small tmpfs in these cells.
var (
	readOnly = &obstacle{"directory read-only", inShell("mount -o remount,ro /run/web"), inShell("mount -o remount,rw /run/web")}
	noSpace  = &obstacle{"directory full", inShell("i=0; while touch /run/web/fill$i; do i=$((i+1)); done 2>/dev/null; ! touch /run/web/x"), inShell("rm -f /run/web/fill*")}
)

// noDescriptors leaves a process no more than it has.
var noDescriptors = &obstacle{"no descriptor left", func(t *testing.T, _ *faultRig, victim int) {
	if err := unix.Prlimit(victim, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: 3}, nil); err != nil {
		t.Fatal(err)
	}
}, nil}

// The manager's.
var (
	deaf = &obstacle{"manager stopped", func(t *testing.T, r *faultRig, victim int) {
		stopManager(t, r, victim, func() {})
	}, nil}
	deafAndFull = &obstacle{"manager stopped, its queue full", func(t *testing.T, r *faultRig, victim int) {
		stopManager(t, r, victim, func() { fillQueue(t, r.Path("/run/systemd/notify")) })
	}, nil}
	moved = &obstacle{"notify socket moved away", inShell("mv /run/systemd/notify /run/systemd/moved"), inShell("mv /run/systemd/moved /run/systemd/notify")}
)

// stopManager keeps PID 1 from working until the launcher has done all that it can
// do without.
func stopManager(t *testing.T, r *faultRig, launcher int, then func()) {
	t.Helper()
	signalHost(t, r.PID(), unix.SIGSTOP)
	defer signalHost(t, r.PID(), unix.SIGCONT)
	then()
	signalHost(t, launcher, unix.SIGCONT)
	rig.WaitFor(t, "the launcher has left", 20*time.Second, func() bool {
		m, ok := readMember(launcher)
		return !ok || m.pid == 0
	})
}

// fillQueue sends to a datagram socket until it takes no more, from as many sockets
// as that needs: each of them has a bound of its own.
func fillQueue(t *testing.T, path string) {
	t.Helper()
	for sent := true; sent; {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		for sent = false; err == nil; sent = sent || err == nil {
			err = unix.Sendto(fd, []byte("X_FULL=1"), 0, &unix.SockaddrUnix{Name: path})
		}
		if err != unix.EAGAIN {
			t.Fatal(err)
		}
	}
}

// obstacleCells are the rows whose fault is no signal.
func obstacleCells() (cells []faultCell) {
	add := func(step, victim string, o *obstacle) {
		for _, s := range faultSteps {
			if s.name == step {
				cells = append(cells, faultCell{step: s, victim: victim, fault: o.name, obstacle: o})
				return
			}
		}
		panic(fmt.Sprintf("no step %q", step))
	}
	for _, o := range []*obstacle{readOnly, noSpace} {
		for _, step := range []string{"estate received", "keeper started", "ready heard", "PID file written", "announced", "commit received"} {
			add(step, "unit", o)
		}
	}
	add("connected", launcher, noDescriptors)
	add("gathered", launcher, noDescriptors)
	add("keeper started", newKeeper, noDescriptors)
	add("started told", newKeeper, noDescriptors)
	add("ready heard", launcher, noDescriptors)
	add("announced", launcher, noDescriptors)
	add("commit received", oldKeeper, noDescriptors)
	add("ready heard", launcher, deafAndFull)
	add("ready heard", launcher, deaf)
	add("announced", launcher, deaf)
	add("ready heard", launcher, moved)
	return cells
}
