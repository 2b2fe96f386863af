//go:build linux

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
	"golang.org/x/sys/unix"
)

// faultFiles is where the program built with -tags faults looks for the steps at
// which it is to stop.
const faultFiles = "/run/flipexec-faults"

// faultUnit has deadlines that pass quickly: the program's own are a fifth of what
// ships, see handoff/steps_faults.go.
var faultUnit = strings.NewReplacer(
	"/opt/flipexec/flipexec reload", "/opt/flipexec/faults/flipexec reload --listen http=tcp::80 --listen new=unix:/run/new.sock",
	"/opt/flipexec/flipexec --listen http=tcp::80", "/opt/flipexec/faults/flipexec --listen http=tcp::80 --listen old=unix:/run/old.sock --ready-timeout=1s --drain-timeout=3s",
).Replace(unitText(goServer, "TimeoutStartSec=4s"))

// A faultRig is a rig for one cell after the other.
type faultRig struct {
	*rig.Rig
	descriptors map[string][]string // of an undisturbed keeper, by generation
}

// bootFaults also lets one handoff go undisturbed, to compare with.
func bootFaults(t, group *testing.T) *faultRig {
	t.Helper()
	started, err := rig.Start(rigConfig(t, "host"))
	if err != nil {
		t.Fatal(err)
	}
	group.Cleanup(func() {
		if err := started.Close(); err != nil {
			group.Error(err)
		}
	})
	r := &faultRig{started, map[string][]string{}}
	inRig(t, r.Rig, "mkdir "+faultFiles)
	r.begin(t)
	for _, generation := range []string{"1", "2"} {
		r.settle(t)
		rig.WaitFor(t, "the keeper has let go of its launcher", 10*time.Second, func() bool {
			last := r.descriptors[generation]
			r.descriptors[generation] = r.keeperDescriptors(t)
			return slices.Equal(last, r.descriptors[generation])
		})
		must(t, r.Rig, "reload", "web")
	}
	return r
}

// begin makes generation 1 of a fresh unit the current one.
func (r *faultRig) begin(t *testing.T) {
	t.Helper()
	inRig(t, r.Rig, "systemctl kill -s CONT web 2>/dev/null; systemctl kill -s KILL web 2>/dev/null; systemctl stop web 2>/dev/null; systemctl reset-failed web 2>/dev/null; rm -rf "+faultFiles+"/* /run/*.sock; true")
	install(t, r.Rig, faultUnit)
	must(t, r.Rig, "start", "web")
	r.settle(t) // the start is over for systemd before it is for the launcher
}

// A member is a process of the unit.
type member struct {
	pid, host int // as the rig numbers it, and as we do
	command   string
}

// members lists the unit's processes by kind, the one that began first first.
func (r *faultRig) members(t *testing.T) map[string][]member {
	t.Helper()
	all := map[string][]member{}
	pids, err := os.ReadFile(r.Path("/sys/fs/cgroup/system.slice/web.service/cgroup.procs"))
	if err != nil {
		return all // the unit has ended
	}
	for _, text := range strings.Fields(string(pids)) { // in the reader's PID namespace
		host, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := readMember(host); ok {
			all[m.kind()] = append(all[m.kind()], m)
		}
	}
	for _, list := range all {
		slices.SortFunc(list, func(a, b member) int { return a.pid - b.pid })
	}
	return all
}

// readMember reads a process of a rig, unless it has gone.
func readMember(host int) (m member, ok bool) {
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", host))
	if err != nil || len(command) == 0 {
		return m, false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", host))
	if err != nil {
		return m, false
	}
	numbers := strings.Fields(strings.Join(fields(string(status), "NSpid"), " "))
	if len(numbers) == 0 {
		return m, false
	}
	pid, err := strconv.Atoi(numbers[len(numbers)-1])
	return member{pid, host, strings.ReplaceAll(string(command), "\x00", " ")}, err == nil
}

func (m member) kind() string {
	switch {
	case strings.Contains(m.command, "flipexec reload"), strings.Contains(m.command, "flipexec --listen"):
		return launcher
	case strings.HasPrefix(m.command, "flipexec-keeper"):
		return "keeper"
	}
	return "server"
}

// keeperDescriptors are those of the only keeper, without what differs each time.
func (r *faultRig) keeperDescriptors(t *testing.T) (links []string) {
	t.Helper()
	keepers := r.members(t)["keeper"]
	if len(keepers) != 1 {
		return nil
	}
	dir := fmt.Sprintf("/proc/%d/fd/", keepers[0].host)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		link, err := os.Readlink(dir + e.Name())
		if err != nil {
			continue
		}
		links = append(links, regexp.MustCompile(`[0-9]+`).ReplaceAllString(link, "N"))
	}
	slices.Sort(links)
	return links
}

// awaitStep returns who has stopped at the step, as the host numbers it.
func (r *faultRig) awaitStep(t *testing.T, step string) int {
	t.Helper()
	host := 0
	rig.WaitFor(t, "somebody stops at "+step, 20*time.Second, func() bool {
		found, err := filepath.Glob(r.Path(faultFiles + "/" + step + ".*"))
		if err != nil || len(found) == 0 {
			return false
		}
		for _, list := range r.members(t) {
			for _, m := range list {
				if filepath.Ext(found[0]) == fmt.Sprintf(".%d", m.pid) {
					host = m.host
				}
			}
		}
		return host != 0 && stopped(host)
	})
	return host
}

// stopped reports whether SIGSTOP has come into effect, or the process is dead.
func stopped(host int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", host))
	if err != nil {
		return true
	}
	after := string(b[strings.LastIndexByte(string(b), ')')+1:])
	return strings.HasPrefix(after, " T") || strings.HasPrefix(after, " Z")
}

func signalHost(t *testing.T, host int, sig unix.Signal) {
	t.Helper()
	if host == 0 {
		t.Fatalf("%v: no such process", sig)
	}
	if err := unix.Kill(host, sig); err != nil && err != unix.ESRCH {
		t.Fatal(err)
	}
}

// settle waits until the handoff is over: nobody but one server and its keeper, if
// it has one, is left.
func (r *faultRig) settle(t *testing.T) {
	t.Helper()
	rig.WaitFor(t, "one generation is left", 20*time.Second, func() bool {
		m := r.members(t)
		return len(m["server"]) == 1 && len(m["keeper"]) <= 1 && len(m[launcher]) == 0 &&
			r.Show("web.service", "SubState")["SubState"] == "running"
	})
}
