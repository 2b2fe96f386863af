//go:build linux

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// buildReferences makes what flipexec is measured against, from folder reference, with
// the Makefile's flags, and puts it beside flipexec.
func buildReferences(t testing.TB) {
	t.Helper()
	golang := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", programs, "./reference/goexec", "./reference/block")
	golang.Env = append(os.Environ(), "CGO_ENABLED=0")
	for _, cmd := range []*exec.Cmd{
		golang,
		exec.Command("cc", "-Wall", "-Wextra", "-Werror", "-O1", "-static", "-o", reference("clock"), "reference/clock.c"),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
}

// reference is the path of a program under test, or of a reference, on this host.
func reference(name string) string { return filepath.Join(programs, name) }

// A clockEvent is a line that reference/clock.c writes.
type clockEvent struct {
	what       string
	generation int
	at         time.Duration // CLOCK_MONOTONIC
}

func parseClock(t testing.TB, text string) (events []clockEvent) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e clockEvent
		if _, err := fmt.Sscanf(line, "%s %d %d", &e.what, &e.generation, &e.at); err != nil {
			t.Fatalf("clock line %q: %v", line, err)
		}
		events = append(events, e)
	}
	return events
}

// when is the time of an event.
func when(t testing.TB, events []clockEvent, what string, generation int) time.Duration {
	t.Helper()
	i := slices.IndexFunc(events, func(e clockEvent) bool { return e.what == what && e.generation == generation })
	if i < 0 {
		t.Fatalf("clock: no %s of generation %d in %v", what, generation, events)
	}
	return events[i].at
}

// milliseconds of a duration, for metrics.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
