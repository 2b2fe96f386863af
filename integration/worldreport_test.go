//go:build linux

package integration

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/flipexec/flipexec/integration/rig"
)

// worldC is the server that has no runtime of its own; see folder world.
const worldC = "/opt/flipexec/world-c"

// worldServers are commands for a unit that report their world.
var worldServers = []struct{ name, command string }{
	{"c", worldC},
	{"go", "/opt/flipexec/world-go"},
	{"python", "/usr/bin/python3 /opt/flipexec/world.py"},
}

// buildWorld makes the programs that report, once: others may be running them.
var buildWorld = sync.OnceValue(func() error {
	golang := exec.Command("go", "build", "-o", filepath.Join(programs, "world-go"), "./world")
	golang.Env = append(os.Environ(), "CGO_ENABLED=0")
	for _, cmd := range []*exec.Cmd{
		golang,
		exec.Command("cc", "-Wall", "-Wextra", "-Werror", "-O1", "-static", "-o", filepath.Join(programs, "world-c"), "world/world.c"),
		exec.Command("cp", "world/world.py", programs),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", cmd, err, out)
		}
	}
	return nil
})

// bootWorld starts a rig that has worldServers, and a web.socket that is not active.
func bootWorld(t *testing.T) *rig.Rig {
	t.Helper()
	if err := buildWorld(); err != nil {
		t.Fatal(err)
	}
	r := boot(t, "host")
	if err := r.WriteUnit("web.socket", "[Socket]\nListenStream=80\nFileDescriptorName=http\n"); err != nil {
		t.Fatal(err)
	}
	return r
}

// A seenWorld is what a server saw of its start.
type seenWorld map[string]string

// takeWorld reads the report of a generation, "0" without one, and removes it.
func takeWorld(t *testing.T, r *rig.Rig, generation string) seenWorld {
	t.Helper()
	path := r.Path("/tmp/world-" + generation)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	w := seenWorld{}
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if _, twice := w[key]; twice || !ok {
			t.Errorf("report: %q is set twice, or has no value", key)
		}
		w[key] = value
	}
	return w
}

// descriptors lists what came through execve(2). Nothing that is close-on-exec has: the
// Go runtime has opened that.
func (w seenWorld) descriptors() []string {
	var fds []string
	for key, value := range w {
		if fd, ok := strings.CutPrefix(key, "fd."); ok && !strings.Contains(value, "cloexec=1") {
			fds = append(fds, fd)
		}
	}
	slices.SortFunc(fds, func(a, b string) int {
		m, _ := strconv.Atoi(a)
		n, _ := strconv.Atoi(b)
		return m - n
	})
	return fds
}

// A worldDifference is what may differ between a server that systemd started and the same
// server behind flipexec. allowed looks at the value of key in both; "" is absent.
type worldDifference struct {
	key     string
	allowed func(plain, ours seenWorld, key string) bool
	why     string
}

// ofTheRun differ between any two starts by systemd, and not because of flipexec.
var ofTheRun = []worldDifference{
	{"pid", inBoth, "each start is another process"},
	{"group", ownPID, "the process leads a process group"},
	{"session", ownPID, "the process leads a session"},
	{"env.LISTEN_PID", ownPID, "section 6: LISTEN_PID is the server's own"},
	{"env.WATCHDOG_PID", ownPID, "section 6: WATCHDOG_PID is the server's own"},
	{"env.SYSTEMD_EXEC_PID", ownPID, "section 6: no stale *_PID"},
	{"env.LISTEN_PIDFDID", notOurs, "section 6: recomputed or absent"},
	{"env.INVOCATION_ID", inBoth, "made anew by systemd at each start"},
	{"env.JOURNAL_STREAM", inBoth, "a connection of its own; stderr_is_journal says that it is the right one"},
}

// ofFlipexec are what flipexec does to a server's world.
var ofFlipexec = append(slices.Clone(ofTheRun),
	worldDifference{"env.NOTIFY_SOCKET", func(plain, ours seenWorld, key string) bool {
		return plain[key] == "/run/systemd/notify" && strings.HasPrefix(ours[key], "/run/web/")
	}, "section 6: NOTIFY_SOCKET is the private path"},
	worldDifference{"env.FLIPEXEC_GENERATION", onlyOurs, "section 6"},
	worldDifference{"env.FLIPEXEC_CONTROL", onlyOurs, "section 6"},
	worldDifference{"env.FLIPEXEC_STORE", onlyOurs, "section 6"})

func inBoth(plain, ours seenWorld, key string) bool { return plain[key] != "" && ours[key] != "" }

func notOurs(_, ours seenWorld, key string) bool { return ours[key] == "" }

func onlyOurs(plain, ours seenWorld, key string) bool { return plain[key] == "" && ours[key] != "" }

// ownPID is for a variable that both have, or neither.
func ownPID(plain, ours seenWorld, key string) bool {
	if plain[key] == "" {
		return ours[key] == ""
	}
	return plain[key] == plain["pid"] && ours[key] == ours["pid"]
}

// compareWorlds fails the test for every key that differs, unless the table allows it.
func compareWorlds(t *testing.T, plain, ours seenWorld, differences []worldDifference) {
	t.Helper()
	keys := maps.Clone(plain)
	maps.Copy(keys, ours)
	for _, d := range differences {
		if !d.allowed(plain, ours, d.key) {
			t.Errorf("%s: got %q, and %q without flipexec; want: %s", d.key, ours[d.key], plain[d.key], d.why)
		}
		delete(keys, d.key)
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		got, has := ours[key]
		want, had := plain[key]
		if got != want || has != had {
			t.Errorf("%s: got %q (set: %t), want %q (set: %t) as without flipexec", key, got, has, want, had)
		}
	}
}
