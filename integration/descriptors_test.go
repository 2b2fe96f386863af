//go:build linux

package integration

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// busyTime is the CPU time of the only keeper.
func busyTime(t *testing.T, r *rig.Rig) time.Duration {
	t.Helper()
	stat := readProc(t, r, keeperPID(t, r), "stat")
	after := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	ticks := 0
	for _, field := range after[11:13] { // fields 14 and 15 of proc_pid_stat(5), at 100 Hz
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// limit sets how many descriptors the keeper may have.
func limit(t *testing.T, r *rig.Rig, keeper, most int) {
	t.Helper()
	inRig(t, r, fmt.Sprintf("prlimit --pid %d --nofile=%d:", keeper, most))
}

// TestReloadOfAKeeperWithoutDescriptors: it has one in reserve, and a handoff needs no
// other.
func TestReloadOfAKeeperWithoutDescriptors(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	keeper, most := keeperPID(t, r), 0
	for _, text := range listProc(t, r, keeper, "fd") {
		fd, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, fd+1)
	}
	limit(t, r, keeper, most)
	for range 20 { // who wants nothing gets what is left
		dial(t, r, controlPath)
	}
	checkReload(t, r)
	if got := checkAgreement(t, r); got == pid {
		t.Errorf("main process: still %d", pid)
	}
}

// TestKeeperThatCannotAcceptSleeps: accept(2) fails, whatever is done about it, while
// a peer waits. The keeper neither spins nor fills the journal, and the next reload
// finds it as it was.
func TestKeeperThatCannotAcceptSleeps(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	keeper := keeperPID(t, r)
	limits := strings.Fields(inRig(t, r, fmt.Sprintf("prlimit --pid %d --nofile --output SOFT --noheadings", keeper)))
	limit(t, r, keeper, 3)
	dial(t, r, controlPath)
	rig.WaitFor(t, "the keeper complains", 5*time.Second, func() bool {
		return strings.Contains(r.Journal("web.service"), "accept: too many open files")
	})
	before := busyTime(t, r)
	<-time.After(3 * time.Second) // nothing to await: the promise is that little happens
	if busy := busyTime(t, r) - before; busy > 300*time.Millisecond {
		t.Errorf("the keeper was busy for %v of 3s", busy)
	}
	checkLines(t, r, "accept: too many open files", 1)
	most, err := strconv.Atoi(limits[0])
	if err != nil {
		t.Fatal(err)
	}
	limit(t, r, keeper, most)
	checkReload(t, r)
}
