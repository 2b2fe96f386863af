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

// leaver is a server that leaves "sleep 1000.GENERATION" behind, as LEAVE says, and
// has no part in the end of that.
const leaver = `
left="sleep 1000.$FLIPEXEC_GENERATION"
own=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
case $LEAVE in
group) set -m; env -i $left & set +m ;;
child) env -i setsid $left & ;;
daemon) setsid -f $left ;;
nameless) env -i setsid -f $left ;;
foreign) env -i setpriv --reuid=1001 --regid=1001 --clear-groups setsid -f $left ;;
nested) mkdir $own/a $own/a/b; env -i setsid -f sh -c "echo 0 >$own/a/b/cgroup.procs; exec $left" ;;
worker) setsid sh -c "read line </run/web/finish.$FLIPEXEC_GENERATION; echo worker of $FLIPEXEC_GENERATION has finished; :" & ;;
bomb) setsid sh -c "while :; do setsid -f $left; sleep 0.01; done; :" & ;;
hopper) echo 'env -i setsid -f /bin/sh /run/web/hop' >/run/web/hop; sh /run/web/hop ;;
esac
[ -z "$STUBBORN" ] || trap "" TERM
[ -n "$HANG" ] || systemd-notify --ready
exec sleep 2000
`

// leaverUnit is a unit with that server, which drains for a second.
func leaverUnit(lines ...string) string {
	return strings.Replace(unitText("/bin/sh /etc/leaver", lines...), "--listen", "--drain-timeout=1s --listen", 1)
}

// startLeaver boots a systemd with generation 1 of a leaver.
func startLeaver(t *testing.T, suite string, lines ...string) *rig.Rig {
	t.Helper()
	r := boot(t, suite)
	writeFile(t, r, "/etc/leaver", leaver)
	install(t, r, leaverUnit(lines...))
	must(t, r, "start", "web")
	settle(t, r, 1)
	return r
}

// settle waits until the leaver of a generation and what it left have executed their
// programs, and are what they are going to be.
func settle(t *testing.T, r *rig.Rig, generation int) {
	t.Helper()
	rig.WaitFor(t, "the server has settled", 10*time.Second, func() bool {
		all := strings.Join(processes(t, r), "\n")
		left := fmt.Sprintf(" sleep 1000.%d", generation)
		return strings.Contains(all, " sleep 2000 ") && !strings.Contains(all, "setsid") && !strings.Contains(all, "leaver") &&
			(strings.Contains(all, left) || !strings.Contains(show(r, "Environment"), "LEAVE="))
	})
}

// awaitWorld waits until what is left of the unit is what was there before.
func awaitWorld(t *testing.T, r *rig.Rig, before string) {
	t.Helper()
	now := ""
	for deadline := time.Now().Add(10 * time.Second); now != before; now = unitWorld(t, r) {
		if time.Now().After(deadline) {
			t.Fatalf("left after 10 s:\n%s\nwant, as before:\n%s", now, before)
		}
	}
}

// unitWorld is what the unit consists of: processes, and cgroups below its own.
func unitWorld(t *testing.T, r *rig.Rig) string {
	t.Helper()
	return strings.Join(processes(t, r), "\n") + "\n" + cgroups(t, r)
}

func cgroups(t *testing.T, r *rig.Rig) string {
	t.Helper()
	return inRig(t, r, "cd /sys/fs/cgroup/system.slice/web.service && ls -d */ */*/ */*/*/ 2>/dev/null; true")
}

// cgroupOf is the cgroup of the main process, below the unit's.
func cgroupOf(t *testing.T, r *rig.Rig) string {
	t.Helper()
	for line := range strings.Lines(readProc(t, r, mainPID(t, r), "cgroup")) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			_, below, _ := strings.Cut(strings.TrimSpace(path), "/web.service")
			return below
		}
	}
	t.Fatal("no cgroup")
	return ""
}

// A leaving is what a server leaves behind.
type leaving struct {
	name  string
	leave string
	lines []string // for [Service]
}

// leavings are what only one rule finds.
var leavings = []leaving{
	{"other process group", "group", nil},
	{"other session", "child", nil},
	{"daemon", "daemon", nil},
	{"many", "bomb", nil},
	{"daemon without environment", "nameless", []string{"Delegate=yes"}},
	{"in a cgroup of the server", "nested", []string{"Delegate=yes"}},
	{"a process that is always another", "hopper", []string{"Delegate=yes"}},
	{"of another user", "foreign", []string{"Delegate=yes", "User=rig", "AmbientCapabilities=CAP_NET_BIND_SERVICE CAP_SETUID CAP_SETGID"}},
	{"without privileges", "nameless", []string{"Delegate=yes", "User=rig", "AmbientCapabilities=CAP_NET_BIND_SERVICE"}},
	{"read-only cgroups", "daemon", []string{"Delegate=yes", "ProtectControlGroups=yes"}},
}

// restless tells what would leave no processor to the tests beside it.
func (l leaving) restless() bool { return l.leave == "bomb" || l.leave == "hopper" }

// TestFailedGenerationLeavesNothing: and the current one, whose processes are of the
// same kinds, is as before.
func TestFailedGenerationLeavesNothing(t *testing.T) {
	for _, l := range leavings {
		t.Run(l.name, func(t *testing.T) {
			if !l.restless() {
				t.Parallel()
			}
			leave := "Environment=LEAVE=" + l.leave
			if l.leave == "bomb" || l.leave == "hopper" {
				leave = "" // or the current one is never the same
			}
			r := startLeaver(t, "host", append(l.lines, leave)...)
			before := unitWorld(t, r)
			install(t, r, leaverUnit(append(l.lines, "Environment=HANG=1 FLIPEXEC_READY_TIMEOUT=1s LEAVE="+l.leave)...))
			if _, err := r.Systemctl("reload", "web"); err == nil {
				t.Error("systemctl reload: got success")
			}
			if after := unitWorld(t, r); after != before {
				t.Errorf("got  %s\nwant %s", after, before)
			}
		})
	}
}

// TestDrainEndsEverythingAtItsTimeout: invariant I3, whatever the server left behind.
// The new generation left the same and keeps it.
func TestDrainEndsEverythingAtItsTimeout(t *testing.T) {
	for _, l := range leavings {
		stubborn := ""
		switch l.leave {
		case "bomb", "hopper":
			continue // the new generation would never be the same
		case "child":
			stubborn = "1" // once its parent is gone nothing tells it
		}
		t.Run(l.name, func(t *testing.T) {
			if !l.restless() {
				t.Parallel()
			}
			r := startLeaver(t, "host", append(l.lines, "Environment=LEAVE="+l.leave+" STUBBORN="+stubborn)...)
			before := len(processes(t, r))
			must(t, r, "reload", "web")
			awaitOneGeneration(t, r)
			settle(t, r, 2)
			after := processes(t, r)
			if len(after) != before || strings.Contains(strings.Join(after, "\n"), "sleep 1000.1") {
				t.Errorf("got %q, want %d processes of generation 2", after, before)
			}
			if j, want := r.Journal("web.service"), "generation 1 drain timeout after 1s, sending KILL"; !strings.Contains(j, want) {
				t.Errorf("journal: want %q in:\n%s", want, j)
			}
			if got := cgroups(t, r); strings.Contains(got, "flipexec-1") {
				t.Errorf("cgroups: got %q", got)
			}
		})
	}
}

// TestDrainWaitsForAWorkerWithItsOwnSession: its server is gone, and a request is
// still being answered.
func TestDrainWaitsForAWorkerWithItsOwnSession(t *testing.T) {
	t.Parallel()
	for _, lines := range [][]string{nil, {"Delegate=yes"}} {
		t.Run(fmt.Sprintf("%q", lines), func(t *testing.T) {
			r := boot(t, "host")
			writeFile(t, r, "/etc/leaver", leaver)
			lines := append(lines, "Environment=LEAVE=worker FLIPEXEC_DRAIN_TIMEOUT=60s", "ExecStartPre=/usr/bin/mkfifo /run/web/finish.1 /run/web/finish.2")
			install(t, r, strings.Replace(leaverUnit(lines...), "--drain-timeout=1s ", "", 1))
			must(t, r, "start", "web")
			pid := mainPID(t, r)
			must(t, r, "reload", "web")
			rig.WaitFor(t, "the old server is gone", 10*time.Second, func() bool {
				return !slices.Contains(processes(t, r), fmt.Sprintf("%d sleep 2000 ", pid))
			})
			inRig(t, r, "echo >/run/web/finish.1")
			awaitOneGeneration(t, r)
			j := r.Journal("web.service")
			finished, gone := strings.Index(j, "worker of 1 has finished"), strings.Index(j, "generation 1 gone")
			if finished < 0 || gone < finished {
				t.Errorf("generation 1 was gone before its worker:\n%s", j)
			}
		})
	}
}

// TestKilledProcessOfAReloadLeavesNothing: launcher and keeper of a new generation end
// it for each other.
func TestKilledProcessOfAReloadLeavesNothing(t *testing.T) {
	for _, pattern := range []string{"^flipexec-keeper 2", "^/opt/flipexec/flipexec reload"} {
		for _, l := range leavings {
			if l.leave != "daemon" && l.leave != "nameless" && l.leave != "bomb" {
				continue
			}
			t.Run(pattern+", "+l.name, func(t *testing.T) {
				if !l.restless() {
					t.Parallel()
				}
				r := startLeaver(t, "host", l.lines...)
				before := unitWorld(t, r)
				install(t, r, leaverUnit(append(l.lines, "Environment=HANG=1 LEAVE="+l.leave)...))
				done := make(chan error, 1)
				go func() {
					_, err := r.Systemctl("reload", "web")
					done <- err
				}()
				rig.WaitFor(t, "the new server has left something", 20*time.Second, func() bool {
					return strings.Contains(strings.Join(processes(t, r), "\n"), " sleep 1000.2")
				})
				kill(t, r, "KILL", pattern)
				if err := <-done; err == nil {
					t.Error("systemctl reload: got success")
				}
				awaitWorld(t, r, before)
			})
		}
	}
}

// TestSuccessorEndsWhatADeadKeeperLeft: at the drain timeout of the previous
// generation, whose server does not want to stop.
func TestSuccessorEndsWhatADeadKeeperLeft(t *testing.T) {
	for _, l := range leavings {
		if l.leave != "daemon" && l.leave != "nameless" {
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			r := startLeaver(t, "host", append(l.lines, "Environment=STUBBORN=1 LEAVE="+l.leave)...)
			before := len(processes(t, r))
			must(t, r, "reload", "web")
			kill(t, r, "KILL", "^flipexec-keeper 1")
			settle(t, r, 2)
			rig.WaitFor(t, "generation 1 is gone", 10*time.Second, func() bool {
				return len(processes(t, r)) == before && !strings.Contains(cgroups(t, r), "flipexec-1")
			})
		})
	}
}

// TestDelegatedGenerationHasItsOwnCgroup: on the oldest and the newest systemd. It is
// gone with its generation, and the unit stops as ever.
func TestDelegatedGenerationHasItsOwnCgroup(t *testing.T) {
	for _, suite := range []string{"bullseye", "host", "forky"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := startLeaver(t, suite, "Delegate=yes", "Environment=LEAVE=nested")
			for generation := 1; generation <= 3; generation++ {
				name := fmt.Sprintf("flipexec-%d", generation)
				if got := cgroupOf(t, r); got != "/"+name {
					t.Errorf("cgroup of the server: got %q, want %q", got, "/"+name)
				}
				if got, want := cgroups(t, r), fmt.Sprintf("%s/\n%[1]s/a/\n%[1]s/a/b/", name); got != want {
					t.Errorf("cgroups: got %q, want %q", got, want)
				}
				must(t, r, "reload", "web")
				awaitOneGeneration(t, r)
				settle(t, r, generation+1)
			}
			must(t, r, "stop", "web")
			if got := show(r, "Result"); got != "success" {
				t.Errorf("Result: got %q, want success", got)
			}
			if left := processes(t, r); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestServerStaysWhereItMayNotBeMoved: without Delegate=, where cgroups are read-only,
// and where it has been given a place of its own.
func TestServerStaysWhereItMayNotBeMoved(t *testing.T) {
	for _, c := range []struct {
		suite  string
		lines  []string
		cgroup string
	}{
		{"host", nil, ""},
		{"host", []string{"Delegate=yes", "ProtectControlGroups=yes"}, ""},
		{"forky", []string{"Delegate=yes", "DelegateSubgroup=main"}, "/main"},
	} {
		t.Run(fmt.Sprintf("%s %q", c.suite, c.lines), func(t *testing.T) {
			t.Parallel()
			r := startLeaver(t, c.suite, append(c.lines, "Environment=LEAVE=daemon")...)
			if got := cgroupOf(t, r); got != c.cgroup {
				t.Errorf("cgroup of the server: got %q, want %q", got, c.cgroup)
			}
			before := len(processes(t, r))
			must(t, r, "reload", "web")
			awaitOneGeneration(t, r)
			settle(t, r, 2)
			if after := processes(t, r); len(after) != before {
				t.Errorf("got %q, want %d processes", after, before)
			}
			if got := cgroups(t, r); strings.Contains(got, "flipexec") {
				t.Errorf("cgroups: got %q", got)
			}
		})
	}
}
