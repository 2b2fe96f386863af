//go:build linux

package integration

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// protocol is what must hold on every version of systemd.
var protocol = []struct {
	name string
	test func(t *testing.T, r *rig.Rig, version int)
}{
	{"start", testStart},
	{"reload", testReload},
	{"failed reload", testFailedReload},
	{"stop", testStop},
	{"crash", testCrash},
	{"watchdog", testWatchdog},
	{"fresh environment", testFreshEnvironment},
	{"NotifyAccess=exec", func(t *testing.T, r *rig.Rig, _ int) { testAccess(t, r, "NotifyAccess=exec", true) }},
	{"NotifyAccess=main", func(t *testing.T, r *rig.Rig, version int) { testAccess(t, r, "NotifyAccess=main", version >= 254) }},
	{"no NotifyAccess=", func(t *testing.T, r *rig.Rig, version int) { testAccess(t, r, "", version >= 254) }},
}

// TestProtocol runs every row on every version and writes the table to the file
// that $FLIPEXEC_MATRIX names.
func TestProtocol(t *testing.T) {
	t.Parallel()
	var m matrix
	t.Cleanup(func() {
		t.Logf("\n%v", &m)
		if file := os.Getenv("FLIPEXEC_MATRIX"); file != "" {
			if err := os.WriteFile(file, []byte(m.String()), 0o644); err != nil {
				t.Error(err)
			}
		}
	})
	for _, release := range rig.Versions {
		suite := release.Suite
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := boot(t, suite)
			version, err := r.Version()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range protocol {
				ok := t.Run(p.name, func(t *testing.T) { p.test(t, r, version) })
				m.set(version, p.name, ok)
				r.Systemctl("stop", "web") // best effort: the next row begins from nothing
			}
		})
	}
}

// matrix collects what TestProtocol has seen.
type matrix struct {
	mu      sync.Mutex
	results map[int]map[string]bool // by version and row
}

func (m *matrix) set(version int, row string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.results == nil {
		m.results = map[int]map[string]bool{}
	}
	if m.results[version] == nil {
		m.results[version] = map[string]bool{}
	}
	m.results[version][row] = ok
}

// String is a table with a column for each version that was booted.
func (m *matrix) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	versions := slices.Sorted(maps.Keys(m.results))
	var b strings.Builder
	fmt.Fprintf(&b, "| %-18s |", "systemd")
	for _, v := range versions {
		fmt.Fprintf(&b, " %-6d |", v)
	}
	b.WriteString("\n|" + strings.Repeat("-", 20) + "|" + strings.Repeat("--------|", len(versions)) + "\n")
	for _, p := range protocol {
		fmt.Fprintf(&b, "| %-18s |", p.name)
		for _, v := range versions {
			result, ran := m.results[v][p.name]
			fmt.Fprintf(&b, " %-6s |", map[bool]string{true: "ok", false: "FAILED"}[ran && result])
		}
		b.WriteString("\n")
	}
	return b.String()
}

func testStart(t *testing.T, r *rig.Rig, _ int) {
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	checkAgreement(t, r)
	checkStatus(t, r, 1)
}

func testReload(t *testing.T, r *rig.Rig, _ int) {
	install(t, r, unitText(goServer, "Environment=GOHTTP_STOPPING=1"))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	load := startTraffic(t, r)
	for i := range 3 {
		must(t, r, "reload", "web")
		next := checkAgreement(t, r)
		if next == pid {
			t.Errorf("reload %d: main process is still %d", i+1, pid)
		}
		pid = next
		checkStatus(t, r, i+2)
	}
	load.stop(t)
	awaitOneGeneration(t, r)
}

func testFailedReload(t *testing.T, r *rig.Rig, _ int) {
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	before := len(processes(t, r))
	install(t, r, unitText(goServer, "Environment=GOHTTP_FAIL=3"))
	load := startTraffic(t, r)
	_, err := r.Systemctl("reload", "web")
	load.stop(t)
	if err == nil {
		t.Error("systemctl reload: got success")
	}
	if j, want := r.Journal("web.service"), "exited with status 3 before it was ready"; !strings.Contains(j, want) {
		t.Errorf("journal: want %q in:\n%s", want, j)
	}
	if got := checkAgreement(t, r); got != pid {
		t.Errorf("main process: got %d, want %d", got, pid)
	}
	if after := processes(t, r); len(after) != before {
		t.Errorf("processes: got %q, want %d of them", after, before)
	}
}

func testStop(t *testing.T, r *rig.Rig, _ int) {
	install(t, r, unitText(goServer, "Environment=GOHTTP_STOP_DELAY=1s"))
	must(t, r, "start", "web")
	must(t, r, "reload", "web")
	start := time.Now()
	must(t, r, "stop", "web")
	if took := time.Since(start); took < time.Second {
		t.Errorf("stop took %v, the server needs 1s", took)
	}
	if p := r.Show("web.service", "Result", "ExecMainStatus"); p["Result"] != "success" || p["ExecMainStatus"] != "0" {
		t.Errorf("got %v, want success and exit status 0", p)
	}
}

func testCrash(t *testing.T, r *rig.Rig, _ int) {
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	must(t, r, "reload", "web")
	pid := checkAgreement(t, r)
	inRig(t, r, fmt.Sprintf("kill -9 %d", pid))
	rig.WaitFor(t, "systemd restarts the server", 20*time.Second, func() bool {
		p := r.Show("web.service", "NRestarts", "ActiveState")
		return p["NRestarts"] == "1" && p["ActiveState"] == "active"
	})
	checkAgreement(t, r)
}

func testWatchdog(t *testing.T, r *rig.Rig, _ int) {
	install(t, r, unitText(goServer, "WatchdogSec=2"))
	must(t, r, "start", "web")
	must(t, r, "reload", "web")
	pid := checkAgreement(t, r)
	<-time.After(5 * time.Second) // two intervals in which nothing must happen
	if got := checkAgreement(t, r); got != pid {
		t.Errorf("main process: got %d, want %d", got, pid)
	}
}

func testFreshEnvironment(t *testing.T, r *rig.Rig, _ int) {
	writeFile(t, r, "/etc/web.env", "COLOUR=green\n")
	install(t, r, unitText(goServer, "EnvironmentFile=/etc/web.env"))
	must(t, r, "start", "web")
	writeFile(t, r, "/etc/web.env", "COLOUR=blue\n")
	must(t, r, "reload", "web")
	checkAgreement(t, r)
	if got, _ := get(t, r, "/env?name=COLOUR"); got != "blue" {
		t.Errorf("COLOUR: got %q, want blue", got)
	}
}

// testAccess: a reload works where the manager would believe it, and refuses by
// name, with nothing touched, where it would not.
func testAccess(t *testing.T, r *rig.Rig, line string, works bool) {
	install(t, r, strings.Replace(unitText(goServer), "NotifyAccess=exec", line, 1))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	_, err := r.Systemctl("reload", "web")
	if works {
		if err != nil {
			t.Fatalf("%v\n%s", err, r.Journal("web.service"))
		}
		if got := checkAgreement(t, r); got == pid {
			t.Errorf("main process is still %d", pid)
		}
		return
	}
	if err == nil {
		t.Error("systemctl reload: got success")
	}
	if j, want := r.Journal("web.service"), "hint: NotifyAccess=exec in the unit"; !strings.Contains(j, want) {
		t.Errorf("journal: want %q in:\n%s", want, j)
	}
	if got := checkAgreement(t, r); got != pid {
		t.Errorf("main process: got %d, want %d", got, pid)
	}
	if n := keepers(t, r); n != 1 {
		t.Errorf("keepers: got %d, want 1", n)
	}
}
