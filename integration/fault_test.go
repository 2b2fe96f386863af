//go:build linux

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
	"golang.org/x/sys/unix"
)

// beginReload starts a reload with this in the environment of the new server, and
// returns once that runs. done gives the outcome of systemctl reload.
func beginReload(t *testing.T, r *rig.Rig, environment string) (done chan error) {
	t.Helper()
	install(t, r, unitText(goServer, "Environment="+environment))
	done = make(chan error, 1)
	go func() {
		_, err := r.Systemctl("reload", "web")
		done <- err
	}()
	rig.WaitFor(t, "the new server runs", 20*time.Second, func() bool {
		return strings.Contains(r.Journal("web.service"), "generation 2 starting")
	})
	return done
}

// kill sends a signal to the process whose command line matches the pattern.
func kill(t *testing.T, r *rig.Rig, signal, pattern string) {
	t.Helper()
	inRig(t, r, fmt.Sprintf("pkill -%s -f -- '%s'", signal, pattern))
}

// TestKillingAnyProcessOfAReloadKeepsOldGeneration: invariant I6, before the new
// generation is ready.
func TestKillingAnyProcessOfAReloadKeepsOldGeneration(t *testing.T) {
	for name, pattern := range map[string]string{
		"launcher":   "^/opt/flipexec/flipexec reload",
		"new keeper": "^flipexec-keeper 2",
	} {
		t.Run(name, func(t *testing.T) {
			r := boot(t, "host")
			install(t, r, unitText(goServer))
			must(t, r, "start", "web")
			pid := checkAgreement(t, r)
			before := world(t, r)
			load := startTraffic(r)
			done := beginReload(t, r, "GOHTTP_HANG=1")
			kill(t, r, "KILL", pattern)
			if err := <-done; err == nil {
				t.Error("systemctl reload: got success")
			}
			awaitOneGeneration(t, r)
			rig.WaitFor(t, "the world is as before", 10*time.Second, func() bool { return world(t, r) == before })
			load.stop(t)
			if got := checkAgreement(t, r); got != pid {
				t.Errorf("main process: got %d, want %d", got, pid)
			}
			install(t, r, unitText(goServer))
			must(t, r, "reload", "web")
			if got := checkAgreement(t, r); got == pid {
				t.Errorf("next reload: main process is still %d", got)
			}
		})
	}
}

// TestServerThatDiesAtItsReadinessIsNotFollowed: the new server says READY=1 and is
// dead before anybody has looked. systemd must be left with the previous one.
func TestServerThatDiesAtItsReadinessIsNotFollowed(t *testing.T) {
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	before := world(t, r)
	load := startTraffic(r)
	done := beginReload(t, r, "GOHTTP_START_DELAY=1s GOHTTP_DIE=1")
	kill(t, r, "STOP", "^flipexec-keeper 2")
	rig.WaitFor(t, "the new server is gone", 10*time.Second, func() bool {
		return inRig(t, r, "pgrep -c -f ^"+goServer+"; true") == "1"
	})
	kill(t, r, "CONT", "^flipexec-keeper 2")
	if err := <-done; err == nil {
		t.Error("systemctl reload: got success")
	}
	load.stop(t)
	if j, want := r.Journal("web.service"), "generation 2: server exited with status 4 as soon as it was ready"; !strings.Contains(j, want) {
		t.Errorf("journal: want %q in:\n%s", want, j)
	}
	if got := checkAgreement(t, r); got != pid {
		t.Errorf("main process: got %d, want %d", got, pid)
	}
	if after := world(t, r); after != before {
		t.Errorf("got  %s\nwant %s", after, before)
	}
}

// TestNotifySocketBelievesOnlyItsGeneration: invariant I9. Another user, who knows
// the path and pretends to have been started with it, is not heard.
func TestNotifySocketBelievesOnlyItsGeneration(t *testing.T) {
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	done := beginReload(t, r, "GOHTTP_HANG=1 FLIPEXEC_READY_TIMEOUT=3s")
	out, err := r.RunAs("rig", 1000, "env", "NOTIFY_SOCKET=/run/web/flipexec-notify-2",
		"sh", "-c", "systemd-notify --ready; systemd-notify MAINPID=$$ READY=1; systemd-notify STOPPING=1")
	if err != nil {
		t.Fatal(err, out)
	}
	if err := <-done; err == nil {
		t.Error("systemctl reload: got success")
	}
	if j, want := r.Journal("web.service"), "generation 2: not ready after 3s"; !strings.Contains(j, want) {
		t.Errorf("journal: want %q in:\n%s", want, j)
	}
	if got := checkAgreement(t, r); got != pid {
		t.Errorf("main process: got %d, want %d", got, pid)
	}
}

// TestLauncherKilledWhileTheManagerIsToldGoesForward: invariant I6 at the instant in
// which the manager may or may not have taken the new main PID. systemd is stopped
// just then, so that it is not over before it can be seen.
func TestLauncherKilledWhileTheManagerIsToldGoesForward(t *testing.T) {
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	load := startTraffic(r)
	done := beginReload(t, r, "GOHTTP_START_DELAY=2s")
	signal := func(sig unix.Signal) {
		t.Helper()
		if err := unix.Kill(r.PID(), sig); err != nil {
			t.Fatal(err)
		}
	}
	signal(unix.SIGSTOP)
	defer signal(unix.SIGCONT)
	rig.WaitFor(t, "the launcher waits at its barrier", 20*time.Second, func() bool { // the only pipe it ever has
		return inRig(t, r, "ls -l /proc/$(pgrep -f '^/opt/flipexec/flipexec reload')/fd | grep -c pipe; true") != "0"
	})
	kill(t, r, "KILL", "^/opt/flipexec/flipexec reload")
	signal(unix.SIGCONT)
	if err := <-done; err == nil {
		t.Error("systemctl reload: got success, though its process was killed")
	}
	if got := checkAgreement(t, r); got == pid {
		t.Errorf("main process: still %d", pid)
	}
	awaitOneGeneration(t, r)
	load.stop(t)
	must(t, r, "reload", "web")
	checkAgreement(t, r)
}

// TestDeadKeeperDoesNotHoldUpItsSuccessor: the previous keeper dies while the new
// server starts. The commit is done all the same, and the previous server is told
// to stop by the new keeper.
func TestDeadKeeperDoesNotHoldUpItsSuccessor(t *testing.T) {
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	load := startTraffic(r)
	done := beginReload(t, r, "GOHTTP_START_DELAY=2s")
	kill(t, r, "KILL", "^flipexec-keeper 1")
	if err := <-done; err != nil {
		t.Errorf("systemctl reload: %v", err)
	}
	if got := checkAgreement(t, r); got == pid {
		t.Errorf("main process: still %d", pid)
	}
	rig.WaitFor(t, "the previous server is gone", 10*time.Second, func() bool { return len(processes(t, r)) == 2 })
	load.stop(t)
	must(t, r, "reload", "web")
	checkAgreement(t, r)
}

// TestStoppedKeeperIsTakenOver: the same with a keeper that hangs.
func TestStoppedKeeperIsTakenOver(t *testing.T) {
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	done := beginReload(t, r, "GOHTTP_START_DELAY=2s")
	kill(t, r, "STOP", "^flipexec-keeper 1")
	if err := <-done; err != nil {
		t.Errorf("systemctl reload: %v", err)
	}
	if got := checkAgreement(t, r); got == pid {
		t.Errorf("main process: still %d", pid)
	}
	must(t, r, "stop", "web")
	if got := show(r, "Result"); got != "success" && got != "timeout" {
		t.Errorf("Result: got %q", got)
	}
}

// TestReloadWithoutKeeperSaysSo: the server of a dead keeper serves on, and the
// next reload says what is the matter.
func TestReloadWithoutKeeperSaysSo(t *testing.T) {
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	kill(t, r, "KILL", "^flipexec-keeper 1")
	if _, err := r.Systemctl("reload", "web"); err == nil {
		t.Error("systemctl reload: got success")
	}
	if j, want := r.Journal("web.service"), "the keeper of the running generation is gone"; !strings.Contains(j, want) {
		t.Errorf("journal: want %q in:\n%s", want, j)
	}
	if got := checkAgreement(t, r); got != pid {
		t.Errorf("main process: got %d, want %d", got, pid)
	}
}
