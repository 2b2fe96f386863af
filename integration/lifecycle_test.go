//go:build linux

package integration

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

func writeFile(t testing.TB, r *rig.Rig, path, text string) {
	t.Helper()
	if err := os.WriteFile(r.Path(path), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestStopGivesTheServerItsTime and its exit status is what systemd shows:
// invariant I5, at the first generation and at a later one.
func TestStopGivesTheServerItsTime(t *testing.T) {
	t.Parallel()
	for _, handoffs := range []int{0, 2} {
		t.Run(fmt.Sprintf("after %d reloads", handoffs), func(t *testing.T) {
			r := boot(t, "host")
			install(t, r, unitText(goServer, "Environment=GOHTTP_STOP_DELAY=2s"))
			must(t, r, "start", "web")
			for range handoffs {
				must(t, r, "reload", "web")
			}
			start := time.Now()
			must(t, r, "stop", "web")
			if took := time.Since(start); took < 2*time.Second {
				t.Errorf("stop took %v, the server needs 2s", took)
			}
			p := r.Show("web.service", "Result", "ExecMainStatus", "ExecMainCode")
			if p["Result"] != "success" || p["ExecMainStatus"] != "0" || p["ExecMainCode"] != "1" {
				t.Errorf("got %v, want success and exit status 0", p)
			}
		})
	}
}

// TestExitStatusIsServers: invariant I5, without a handoff and after one.
// TestStopLetsARequestFinish: each server, at a later generation, has the two seconds
// that a request still takes.
func TestStopLetsARequestFinish(t *testing.T) {
	t.Parallel()
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			r := boot(t, "host")
			install(t, r, unitText(s.command, s.lines))
			must(t, r, "start", "web")
			must(t, r, "reload", "web")
			checkAgreement(t, r)
			awaitOneGeneration(t, r)
			c, err := r.Dial(t.Context(), "tcp", "127.0.0.1:80")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := fmt.Fprint(c, "GET /slow?ms=2000 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			rig.WaitFor(t, "the server has read the request", 10*time.Second, func() bool { return unread(t, r) == 0 })
			must(t, r, "stop", "web")
			if got := show(r, "Result"); got != "success" {
				t.Errorf("Result: got %q, want success", got)
			}
			answer, err := io.ReadAll(c)
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
				t.Errorf("got %q, %v, want 200", answer, err)
			}
		})
	}
}

// unread counts the connections to port 80 with bytes that the server has not read,
// proc_net_tcp of the kernel's documentation.
func unread(t *testing.T, r *rig.Rig) (n int) {
	t.Helper()
	for line := range strings.Lines(inRig(t, r, "cat /proc/net/tcp /proc/net/tcp6")) {
		f := strings.Fields(line) // number, local address, remote address, state, queues
		if strings.HasSuffix(f[1], ":0050") && f[3] == "01" && !strings.HasSuffix(f[4], ":00000000") {
			n++
		}
	}
	return n
}

func TestExitStatusIsServers(t *testing.T) {
	t.Parallel()
	for _, handoffs := range []int{0, 1} {
		t.Run(fmt.Sprintf("after %d reloads", handoffs), func(t *testing.T) {
			r := boot(t, "host")
			command := `/bin/sh -c 'trap "exit 7" USR1; systemd-notify --ready; while :; do sleep 1; done'`
			install(t, r, strings.Replace(unitText(command), "on-failure", "no", 1))
			must(t, r, "start", "web")
			for range handoffs {
				must(t, r, "reload", "web")
			}
			must(t, r, "kill", "--kill-who=main", "--signal=USR1", "web")
			rig.WaitFor(t, "the unit has failed", 10*time.Second, func() bool { return show(r, "ActiveState") == "failed" })
			if p := r.Show("web.service", "Result", "ExecMainStatus"); p["Result"] != "exit-code" || p["ExecMainStatus"] != "7" {
				t.Errorf("got %v, want exit-code and 7", p)
			}
		})
	}
}

// TestCrashIsRestarted: the manager sees the crash of a later generation's server
// as it would without flipexec, and the next start finds nothing in its way.
func TestCrashIsRestarted(t *testing.T) {
	t.Parallel()
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			r := boot(t, "host")
			install(t, r, unitText(s.command, s.lines))
			must(t, r, "start", "web")
			must(t, r, "reload", "web")
			pid := checkAgreement(t, r)
			must(t, r, "kill", "--kill-who=main", "--signal=KILL", "web")
			rig.WaitFor(t, "systemd restarts the server", 20*time.Second, func() bool {
				p := r.Show("web.service", "NRestarts", "ActiveState")
				return p["NRestarts"] == "1" && p["ActiveState"] == "active"
			})
			if next := checkAgreement(t, r); next == pid {
				t.Errorf("main process: still %d", pid)
			}
			must(t, r, "reload", "web")
			checkAgreement(t, r)
		})
	}
}

// TestDrainEndsAtItsTimeout: invariant I3, for a server that does not want to stop.
func TestDrainEndsAtItsTimeout(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	// The server ignores TERM, and so does a process that has left its
	// process group.
	command := `/bin/sh -c 'trap "" TERM; sh -mc "sleep 1000 & wait" & systemd-notify --ready; while :; do sleep 1; done'`
	install(t, r, strings.Replace(unitText(command), "--listen", "--drain-timeout=1s --listen", 1))
	must(t, r, "start", "web")
	before := len(processes(t, r))
	must(t, r, "reload", "web")
	awaitOneGeneration(t, r)
	rig.WaitFor(t, "only the new generation's processes are left", 5*time.Second, func() bool { return len(processes(t, r)) <= before })
	if j := r.Journal("web.service"); !strings.Contains(j, "generation 1: drain timeout") && !strings.Contains(j, "generation 1 drain timeout") {
		t.Errorf("journal does not tell of the drain timeout:\n%s", j)
	}
}

// TestDrainWaitsForWorkers: what the server's main process left behind may finish.
func TestDrainWaitsForWorkers(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	command := `/bin/sh -c '(trap "" TERM; sleep 2; echo worker of $FLIPEXEC_GENERATION has finished) & systemd-notify --ready; exec sleep 1000'`
	install(t, r, unitText(command))
	must(t, r, "start", "web")
	must(t, r, "reload", "web")
	awaitOneGeneration(t, r)
	if j := r.Journal("web.service"); !strings.Contains(j, "worker of 1 has finished") {
		t.Errorf("the worker was not let to finish:\n%s", j)
	}
}

func TestWatchdogIsKeptOverHandoffs(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer, "WatchdogSec=3"))
	must(t, r, "start", "web")
	var pid int
	for range 3 {
		must(t, r, "reload", "web")
		pid = checkAgreement(t, r)
	}
	// Nothing to await: the promise is that for 15 s, five intervals,
	// nothing happens.
	<-time.After(15 * time.Second)
	if got := checkAgreement(t, r); got != pid {
		t.Errorf("main process: got %d, want %d", got, pid)
	}
	if p := r.Show("web.service", "NRestarts", "Result"); p["NRestarts"] != "0" || p["Result"] != "success" {
		t.Errorf("got %v, want no restart", p)
	}
	// And the watchdog does watch: a server that stops to ping is killed.
	inRig(t, r, fmt.Sprintf("kill -STOP %d", pid))
	rig.WaitFor(t, "the watchdog bites", 10*time.Second, func() bool { return show(r, "NRestarts") == "1" })
}

// TestServerThatForksIsFollowed: MAINPID= of the server is honoured.
func TestServerThatForksIsFollowed(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	command := `/bin/sh -c 'setsid sh -c "systemd-notify MAINPID=\\$\\$ READY=1; exec sleep 1000" & wait'`
	install(t, r, unitText(command))
	must(t, r, "start", "web")
	must(t, r, "reload", "web")
	main := mainPID(t, r)
	if file := pidFile(t, r); file != main {
		t.Errorf("PID file: got %d, want %d", file, main)
	}
	rig.WaitFor(t, "the main process is the forked one, which executes sleep", 10*time.Second, func() bool {
		return inRig(t, r, fmt.Sprintf("tr '\\0' ' ' </proc/%d/cmdline", main)) == "sleep 1000"
	})
	awaitOneGeneration(t, r)
	must(t, r, "stop", "web")
	if got := show(r, "Result"); got != "success" {
		t.Errorf("Result: got %q", got)
	}
}

// TestSandboxedUnit: the profile of a hardened service of an unprivileged user.
func TestSandboxedUnit(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer, strings.Split(sandbox, "\n")...))
	must(t, r, "start", "web")
	for range 2 {
		must(t, r, "reload", "web")
		checkAgreement(t, r)
	}
	awaitOneGeneration(t, r)
	must(t, r, "stop", "web")
	if got := show(r, "Result"); got != "success" {
		t.Errorf("Result: got %q, want success", got)
	}
}

// sandbox is the full profile; port 80 needs the one capability.
const sandbox = `User=rig
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateIPC=yes
ProtectProc=invisible
ProcSubset=pid
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallArchitectures=native
MemoryDenyWriteExecute=yes
LockPersonality=yes
RemoveIPC=yes
UMask=0077`

// TestOwnDeadlineComesFirst: systemd's start timeout, which is shorter than ours,
// does not cut a start or a reload off, and the server can ask for more time.
func TestOwnDeadlineComesFirst(t *testing.T) {
	t.Parallel()
	for name, unit := range map[string]string{
		"slow server":      unitText(goServer, "TimeoutStartSec=1s", "Environment=GOHTTP_START_DELAY=3s"),
		"server that asks": unitText(`/bin/sh -c 'systemd-notify EXTEND_TIMEOUT_USEC=9000000; sleep 3; systemd-notify --ready; exec sleep 1000'`, "TimeoutStartSec=1s", "Environment=FLIPEXEC_READY_TIMEOUT=1s"),
	} {
		t.Run(name, func(t *testing.T) {
			r := boot(t, "host")
			install(t, r, unit)
			must(t, r, "start", "web")
			pid := mainPID(t, r)
			must(t, r, "reload", "web")
			if got := mainPID(t, r); got == pid || got != pidFile(t, r) {
				t.Errorf("main process: got %d, was %d, PID file %d", got, pid, pidFile(t, r))
			}
		})
	}
}
