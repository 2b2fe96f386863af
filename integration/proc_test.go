//go:build linux

package integration

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/integration/rig"
)

// readProc reads a file in the rig's /proc/PID.
func readProc(t testing.TB, r *rig.Rig, pid int, file string) string {
	t.Helper()
	b, err := os.ReadFile(r.Path(fmt.Sprintf("/proc/%d/%s", pid, file)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// listProc lists a folder in the rig's /proc/PID.
func listProc(t testing.TB, r *rig.Rig, pid int, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(r.Path(fmt.Sprintf("/proc/%d/%s", pid, folder)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// fields returns the values of the lines "KEY: VALUE" with the given key.
func fields(text, key string) (values []string) {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok && k == key {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}

// keeperPID is the only keeper of web.service, numbered as in the rig.
func keeperPID(t testing.TB, r *rig.Rig) int {
	t.Helper()
	all := slices.DeleteFunc(processes(t, r), func(p string) bool { return !strings.Contains(p, "flipexec-keeper") })
	if len(all) != 1 {
		t.Fatalf("keepers: got %q, want one", all)
	}
	text, _, _ := strings.Cut(all[0], " ")
	pid, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// hostPID is the host's number of a child of the rig's PID 1.
func hostPID(t testing.TB, r *rig.Rig, pid int) int {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", r.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range strings.Fields(string(children)) {
		status, err := os.ReadFile("/proc/" + child + "/status")
		if err != nil {
			continue // it has gone
		}
		numbers := strings.Fields(strings.Join(fields(string(status), "NSpid"), " "))
		if n := len(numbers); n > 0 && numbers[n-1] == strconv.Itoa(pid) {
			host, err := strconv.Atoi(child)
			if err != nil {
				t.Fatal(err)
			}
			return host
		}
	}
	t.Fatalf("process %d: not a child of PID 1", pid)
	return 0
}
