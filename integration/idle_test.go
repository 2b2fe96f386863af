//go:build linux

package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// idleTime is how long a process is watched. The Go runtime's own monitor thread looks
// around once a minute, at first a minute after the process fell asleep.
const idleTime = 10 * time.Second

// TestIdleKeeperNeverWakes: whatever the server does, nothing of it passes the
// keeper.
func TestIdleKeeperNeverWakes(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	must(t, r, "reload", "web")
	checkAgreement(t, r)
	awaitOneGeneration(t, r)
	checkIdle(t, r, keeperPID(t, r))
}

// TestIdleForegroundProcessNeverWakes: it manages, and has no part in what the server
// does either. It lives longer than any keeper, and a hundred handoffs leave nothing:
// no memory beside what the first few took, and no garbage collector at work.
func TestIdleForegroundProcessNeverWakes(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	startForeground(t, r)
	for range 100 {
		must(t, r, "reload", "web")
	}
	awaitOneGeneration(t, r)
	pid := mainPID(t, r)
	checkIdle(t, r, pid)
	if m := parseMemory(t, readProc(t, r, pid, "smaps_rollup")); m.dirty > 3_300 {
		t.Errorf("memory: got %v, want at most 3300 kB private dirty", m)
	}
}

// startForeground starts a server for whose manager nothing counts but the foreground
// process.
func startForeground(t testing.TB, r *rig.Rig) {
	t.Helper()
	install(t, r, strings.NewReplacer("Type=notify\n", "Type=simple\n", "NotifyAccess=exec\n", "KillMode=mixed\n").Replace(unitText(goServer)))
	must(t, r, "start", "web")
	rig.WaitFor(t, "the server serves", 20*time.Second, func() bool {
		_, _, err := tryGet(r, "/")
		return err == nil
	})
	awaitLauncher(t, r)
}

// checkIdle watches a process that has nothing to do, while its server is busy.
func checkIdle(t *testing.T, r *rig.Rig, pid int) {
	t.Helper()
	awaitSleep(t, r, pid)
	traffic := startTraffic(t, r)
	before := activity(t, r, pid)
	<-time.After(idleTime) // nothing to await: the promise is that nothing happens
	if after := activity(t, r, pid); after != before {
		t.Errorf("context switches and CPU time:\nbefore %s\nafter  %s", before, after)
	}
	for _, call := range systemCalls(t, r, pid) {
		t.Errorf("system call: %s", call)
	}
	checkWatched(t, r, pid)
	traffic.stop(t)
}

// activity changes whenever a thread of the process runs: the context switches of
// each, in its line of status, and the CPU time of all.
func activity(t testing.TB, r *rig.Rig, pid int) string {
	t.Helper()
	var b strings.Builder
	for _, tid := range listProc(t, r, pid, "task") {
		status := readProc(t, r, pid, "task/"+tid+"/status")
		fmt.Fprintf(&b, "%s: %s+%s, ", tid, fields(status, "voluntary_ctxt_switches"), fields(status, "nonvoluntary_ctxt_switches"))
	}
	stat := readProc(t, r, pid, "stat")
	after := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	fmt.Fprintf(&b, "utime %s stime %s", after[11], after[12]) // fields 14 and 15 of proc_pid_stat(5)
	return b.String()
}

// awaitSleep waits until the process has done nothing for a while: its runtime
// takes some 20 ms to find that there is nothing to do.
func awaitSleep(t testing.TB, r *rig.Rig, pid int) {
	t.Helper()
	var last string
	same := 0
	rig.WaitFor(t, fmt.Sprintf("process %d sleeps", pid), 20*time.Second, func() bool {
		now := activity(t, r, pid)
		if same++; now != last {
			last, same = now, 0
		}
		return same == 25
	})
}

// systemCalls lists the system calls that return in idleTime. At first strace(1) shows
// the one in which each thread sleeps; none can make another before it is back.
func systemCalls(t testing.TB, r *rig.Rig, pid int) (returned []string) {
	t.Helper()
	inRig(t, r, fmt.Sprintf("strace -f -qq -o /tmp/calls -p %d & sleep %v; kill $!; wait", pid, idleTime.Seconds()))
	trace, err := os.ReadFile(r.Path("/tmp/calls"))
	if err != nil {
		t.Fatal(err)
	}
	asleep := 0
	for line := range strings.Lines(string(trace)) {
		switch {
		case strings.Contains(line, "<detached ...>"): // at the end of strace
		case strings.Contains(line, "<unfinished ...>"):
			asleep++
		default:
			returned = append(returned, strings.TrimSpace(line))
		}
	}
	if asleep == 0 {
		t.Errorf("strace did not see the process sleep: %q", trace)
	}
	return returned
}

// checkWatched finds no timer among the descriptors, and no socket that an epoll
// instance watches: each connection would wake its owner.
func checkWatched(t testing.TB, r *rig.Rig, pid int) {
	t.Helper()
	target := func(fd string) string {
		link, err := os.Readlink(r.Path(fmt.Sprintf("/proc/%d/fd/%s", pid, fd)))
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	sockets := 0
	for _, fd := range listProc(t, r, pid, "fd") {
		if strings.Contains(target(fd), "timerfd") {
			t.Errorf("descriptor %s is a timer", fd)
		}
		if strings.HasPrefix(target(fd), "socket:") {
			sockets++
		}
		for _, watched := range fields(readProc(t, r, pid, "fdinfo/"+fd), "tfd") {
			watched, _, _ = strings.Cut(watched, " ")
			if link := target(watched); strings.HasPrefix(link, "socket:") {
				t.Errorf("epoll instance %s watches descriptor %s, %s", fd, watched, link)
			}
		}
	}
	if sockets < 2 { // the control socket, and the server's or the notify socket
		t.Errorf("sockets: got %d, want at least 2", sockets)
	}
}
