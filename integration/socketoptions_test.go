//go:build linux

package integration

import (
	"strings"
	"testing"

	"github.com/flipexec/flipexec/integration/rig"
	"golang.org/x/sys/unix"
)

// socketsOf replaces the sockets of a unit, and gives others to its reload.
func socketsOf(text, start, reload string) string {
	return strings.NewReplacer("--listen http=tcp::80 --", start+" --", "flipexec reload", "flipexec reload "+reload).Replace(text)
}

// socketState is queue and file of the two sockets, as the kernel has them.
func socketState(t *testing.T, r *rig.Rig) string {
	t.Helper()
	return inRig(t, r, "ss -Hltn 'sport = :80' | awk '{print $3}'; stat -c '%a %u:%g' /run/app.sock")
}

const (
	optionsBefore = "--listen http=tcp::80?backlog=100 --listen app=unix:/run/app.sock?mode=0600&user=1"
	stateBefore   = "100\n600 1:0"
	optionsAfter  = "--listen http=tcp::80?backlog=200 --listen app=unix:/run/app.sock?mode=0640&group=2"
	stateAfter    = "200\n640 0:2"
)

// TestReloadChangesSocketOptions: on the same sockets, and a reload that fails leaves
// them as they were.
func TestReloadChangesSocketOptions(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	text := unitText(goServer)
	install(t, r, socketsOf(text, optionsBefore, optionsAfter+" -- /bin/false"))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	inode := inRig(t, r, "stat -c %i /run/app.sock")
	check := func(when, want string) {
		t.Helper()
		if got := socketState(t, r); got != want {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
	}
	check("start", stateBefore)

	if out, err := r.Systemctl("reload", "web"); err == nil {
		t.Errorf("/bin/false passes for a server: %s", out)
	}
	check("failed reload", stateBefore)

	install(t, r, socketsOf(text, optionsBefore, "--listen http=tcp::80?v6only=yes"))
	if out, err := r.Systemctl("reload", "web"); err == nil {
		t.Errorf("v6only changed on a bound socket: %s", out)
	}
	if j, want := r.Journal("web.service"), "option v6only of a bound socket cannot change; hint: systemctl restart"; !strings.Contains(j, want) {
		t.Errorf("journal: want %q in\n%s", want, j)
	}
	check("refused reload", stateBefore)
	if got := checkAgreement(t, r); got != pid {
		t.Errorf("main process: got %d, want %d", got, pid)
	}

	install(t, r, socketsOf(text, optionsBefore, optionsAfter))
	must(t, r, "reload", "web")
	check("reload", stateAfter)
	if got := inRig(t, r, "stat -c %i /run/app.sock"); got != inode {
		t.Errorf("inode: got %s, want %s", got, inode)
	}
	awaitOneGeneration(t, r)
	must(t, r, "stop", "web")
	inRig(t, r, "! test -e /run/app.sock")
}

// TestKilledReloadPutsSocketOptionsBack: invariant I2, at the one step where options are
// changed and the manager has not been told yet. The keeper does it.
func TestKilledReloadPutsSocketOptionsBack(t *testing.T) {
	t.Parallel()
	r := bootFaults(t, t)
	inRig(t, r.Rig, "systemctl stop web")
	text := strings.ReplaceAll(unitText(goServer), "/opt/flipexec/flipexec", "/opt/flipexec/faults/flipexec")
	install(t, r.Rig, socketsOf(text, optionsBefore, optionsAfter))
	must(t, r.Rig, "start", "web")
	r.settle(t)
	inRig(t, r.Rig, "touch '"+faultFiles+"/PID file written'; systemctl reload --no-block web")
	launcher := r.awaitStep(t, "PID file written")
	if got := socketState(t, r.Rig); got != stateAfter {
		t.Errorf("at the step: got %q, want %q", got, stateAfter)
	}
	signalHost(t, launcher, unix.SIGKILL)
	r.settle(t)
	rig.WaitFor(t, "the options are put back", 10e9, func() bool { return socketState(t, r.Rig) == stateBefore })
}
