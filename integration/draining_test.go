//go:build linux

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// busy lets the current server of web.service answer a request for so long that it
// drains until it is ended.
func busy(t testing.TB, r *rig.Rig) {
	t.Helper()
	checkAgreement(t, r) // the one before accepts no more
	c, err := r.Dial(t.Context(), "tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := fmt.Fprintf(c, "GET /slow?ms=600000 HTTP/1.1\r\nHost: web\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	awaitRead(t, r)
}

// awaitRead waits until every request that was sent has been read.
func awaitRead(t testing.TB, r *rig.Rig) {
	t.Helper()
	rig.WaitFor(t, "requests are read", 10*time.Second, func() bool {
		// /proc/net/tcp, proc_pid_net(5): established, of port 80, with bytes to be read
		return inRig(t, r, `awk '$4 == "01" && $2 ~ /:0050$/ && $5 !~ /:0+$/' /proc/net/tcp /proc/net/tcp6`) == ""
	})
}

// TestNoMoreThanMaxDrainingGenerationsDrain: at the limit the oldest is ended, when
// the new one is current and not before.
func TestNoMoreThanMaxDrainingGenerationsDrain(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, strings.Replace(unitText(goServer), "--pid-file", "--max-draining=2 --drain-timeout=0 --pid-file", 1))
	must(t, r, "start", "web")
	for generation := 1; generation <= 3; generation++ {
		busy(t, r)
		must(t, r, "reload", "web")
	}
	expectKeepers := func(want ...int) {
		t.Helper()
		rig.WaitFor(t, fmt.Sprintf("keepers %d", want), 10*time.Second, func() bool {
			var all []string
			for _, p := range processes(t, r) {
				if _, keeper, ok := strings.Cut(p, "flipexec-keeper "); ok {
					all = append(all, strings.TrimSpace(keeper))
				}
			}
			return strings.Join(all, " ") == strings.Trim(fmt.Sprint(want), "[]")
		})
	}
	expectKeepers(2, 3, 4)
	if j, want := r.Journal("web.service"), "generation 1 drain ends early, too many generations drain, sending KILL"; strings.Count(j, want) != 1 {
		t.Errorf("journal: want %q once in:\n%s", want, j)
	}

	// A reload that fails leaves the draining ones alone, too.
	busy(t, r)
	install(t, r, strings.Replace(unitText(goServer), "flipexec reload", "flipexec reload -- /bin/false", 1))
	if _, err := r.Systemctl("reload", "web"); err == nil {
		t.Error("reload of a server that fails: got success")
	}
	expectKeepers(2, 3, 4)

	// Whose keeper is dead counts as well, and is ended all the same.
	kill(t, r, "KILL", "^flipexec-keeper 2")
	begin := time.Now()
	if _, err := r.Systemctl("reload", "web"); err == nil {
		t.Error("reload of a server that fails: got success")
	}
	if took := time.Since(begin); took > 5*time.Second { // its launcher's patience is longer
		t.Errorf("a generation that failed waited %v for the orphan, which is not its own", took)
	}
	expectKeepers(3, 4)
	install(t, r, strings.Replace(unitText(goServer), "flipexec reload", "flipexec reload -- "+goServer, 1))
	must(t, r, "reload", "web")
	expectKeepers(3, 4, 5)
	rig.WaitFor(t, "three servers are left", 10*time.Second, func() bool { return len(processes(t, r)) == 6 })
	checkAgreement(t, r)
}

// TestStoppedKeeperDoesNotKeepItsServer: a keeper that hangs while its server drains
// is no excuse for the drain timeout.
func TestStoppedKeeperDoesNotKeepItsServer(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, strings.Replace(unitText(goServer), "--pid-file", "--drain-timeout=1s --pid-file", 1))
	must(t, r, "start", "web")
	pid := mainPID(t, r)
	busy(t, r)
	must(t, r, "reload", "web")
	kill(t, r, "STOP", "^flipexec-keeper 1")
	rig.WaitFor(t, "the server of the stopped keeper is gone", 15*time.Second, func() bool {
		return !slices.ContainsFunc(processes(t, r), func(p string) bool { return strings.HasPrefix(p, fmt.Sprintf("%d ", pid)) })
	})
	must(t, r, "reload", "web")
	kill(t, r, "CONT", "^flipexec-keeper 1")
	awaitOneGeneration(t, r)
	checkAgreement(t, r)
}

// TestProbationLetsBothServe: the reload waits, the status says why, and a new
// server that dies meanwhile is a failed handoff.
func TestProbationLetsBothServe(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, strings.Replace(unitText(goServer), "--pid-file", "--probation=2s --pid-file", 1))
	must(t, r, "start", "web") // there is nothing to compare the first one with
	pid, begin := checkAgreement(t, r), time.Now()
	traffic := startTraffic(t, r)
	done := make(chan error, 1)
	go func() {
		_, err := r.Systemctl("reload", "web")
		done <- err
	}()
	onProbation := fmt.Sprintf("generation 1: pid %d; generation 2 is on probation for 2s", pid)
	rig.WaitFor(t, "the status says why", 10*time.Second, func() bool { return show(r, "StatusText") == onProbation })
	answers := map[int]bool{}
	rig.WaitFor(t, "both generations answer", 10*time.Second, func() bool {
		answers[answering(t, r)] = true
		return len(answers) == 2
	})
	if got := mainPID(t, r); got != pid {
		t.Errorf("main process on probation: got %d, want %d", got, pid)
	}
	if err := <-done; err != nil {
		t.Errorf("systemctl reload: %v", err)
	}
	if took := time.Since(begin); took < 2*time.Second {
		t.Errorf("the probation took %v", took)
	}
	next := checkAgreement(t, r)
	traffic.stop(t)
	if next == pid {
		t.Errorf("main process: still %d", pid)
	}
	awaitOneGeneration(t, r)
}

// TestFailureOnProbationKeepsOldGeneration: whether it dies or says that it stops.
func TestFailureOnProbationKeepsOldGeneration(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, strings.Replace(unitText(goServer), "--pid-file", "--probation=2s --pid-file", 1))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	for name, c := range map[string]struct{ script, reason string }{
		"dies":  {"pkill -KILL --newest gohttp", "generation 2: server killed by signal KILL on probation"},
		"stops": {"NOTIFY_SOCKET=/run/web/flipexec-notify-2 systemd-notify --no-block --pid=$(pgrep --newest gohttp) STOPPING=1", "generation 2: server said STOPPING=1"},
	} {
		t.Run(name, func(t *testing.T) {
			before, done := processes(t, r), make(chan error, 1)
			go func() {
				_, err := r.Systemctl("reload", "web")
				done <- err
			}()
			rig.WaitFor(t, "generation 2 is on probation", 10*time.Second, func() bool {
				return strings.Contains(show(r, "StatusText"), "generation 2 is on probation for 2s")
			})
			inRig(t, r, c.script)
			if err := <-done; err == nil {
				t.Error("systemctl reload: got success")
			}
			if j := r.Journal("web.service"); !strings.Contains(j, c.reason) {
				t.Errorf("journal: want %q in:\n%s", c.reason, j)
			}
			if got := checkAgreement(t, r); got != pid {
				t.Errorf("main process: got %d, want %d", got, pid)
			}
			if got, want := show(r, "StatusText"), fmt.Sprintf("generation 1: pid %d", pid); got != want {
				t.Errorf("StatusText: got %q, want %q", got, want)
			}
			if after := processes(t, r); strings.Join(after, "\n") != strings.Join(before, "\n") {
				t.Errorf("processes: got %q, want %q", after, before)
			}
		})
	}
}
