//go:build linux

package integration

import (
	"os"
	"strings"
	"testing"
)

// readmeUnit is the unit file as the README has it.
func readmeUnit(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(b), "\n## Unit\n")
	if !ok {
		t.Fatal("README.md has no section Unit")
	}
	var unit []string
	for _, line := range strings.Split(section, "\n") {
		text, indented := strings.CutPrefix(line, "    ")
		switch {
		case indented:
			unit = append(unit, text)
		case line == "":
			unit = append(unit, "")
		default:
			return strings.TrimSpace(strings.Join(unit, "\n")) + "\n"
		}
	}
	t.Fatal("the unit in README.md has no end")
	return ""
}

// TestReadmeUnitWorks: the unit file, copied as it is.
func TestReadmeUnitWorks(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	inRig(t, r, "cp /opt/flipexec/flipexec /usr/bin/flipexec && cp /opt/flipexec/gohttp /usr/bin/server")
	install(t, r, readmeUnit(t))
	inRig(t, r, "systemd-analyze verify web.service")
	must(t, r, "start", "web")
	pid := answering(t, r)
	if got := mainPID(t, r); got != pid {
		t.Errorf("main process: got %d, want %d, which answers", got, pid)
	}
	load := startTraffic(t, r)
	must(t, r, "reload", "web")
	awaitOneGeneration(t, r)
	load.stop(t)
	if got := mainPID(t, r); got == pid || got != answering(t, r) {
		t.Errorf("main process after the reload: got %d, was %d, and %d answers", got, pid, answering(t, r))
	}
	must(t, r, "stop", "web")
	if got := show(r, "Result"); got != "success" {
		t.Errorf("Result: got %q, want success", got)
	}
}
