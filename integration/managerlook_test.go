//go:build linux

package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// awaitLauncher waits until no handoff is under way.
func (w managed) awaitLauncher(t *testing.T) {
	t.Helper()
	rig.WaitFor(t, "the launcher has left", 20*time.Second, func() bool {
		for _, text := range w.ours(t) {
			_, line, _ := strings.Cut(text, "\n")
			if argv0, _, _ := strings.Cut(line, " "); filepath.Base(argv0) == "flipexec" {
				return false
			}
		}
		return true
	})
}

// ours are the processes of flipexec and the server, numbered as in the rig, with their
// names and command lines.
func (w managed) ours(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(w.Path("/proc"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range entries {
		name, err := os.ReadFile(w.Path("/proc/" + e.Name() + "/comm"))
		if err != nil {
			continue // it is none, or has gone
		}
		line, _ := os.ReadFile(w.Path("/proc/" + e.Name() + "/cmdline")) // a zombie has none
		text := string(name) + strings.ReplaceAll(string(line), "\x00", " ")
		if strings.Contains(text, "flipexec") || strings.Contains(text, managersServer) || strings.HasPrefix(text, "gohttp") {
			found[e.Name()] = text
		}
	}
	return found
}

// serverPID is the only server.
func (w managed) serverPID(t *testing.T) string {
	t.Helper()
	var pids []string
	for pid, text := range w.ours(t) {
		if strings.HasPrefix(text, "gohttp\n") {
			pids = append(pids, pid)
		}
	}
	if len(pids) != 1 {
		t.Fatalf("servers: got %q, want one", pids)
	}
	return pids[0]
}

// ends are the exit statuses that the manager has seen.
func (w managed) ends(t *testing.T) []string {
	t.Helper()
	return strings.Fields(w.must(t, w.exits))
}

// awaitEnd waits for one more, and returns it.
func (w managed) awaitEnd(t *testing.T, before int) (status string) {
	t.Helper()
	rig.WaitFor(t, "the manager sees the end", 20*time.Second, func() bool {
		all := w.ends(t)
		if len(all) > before {
			status = all[before]
		}
		return status != ""
	})
	return status
}
