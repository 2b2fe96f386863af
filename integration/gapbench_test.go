//go:build linux

package integration

import (
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// BenchmarkUnlinkedPath measures for how long a path is away that the old server
// unlinks in its drain, from before the unlink(2) to when another process finds it
// again; and beside it the same with a C program that does nothing but to put it back.
func BenchmarkUnlinkedPath(b *testing.B) {
	const unlinks = 200
	buildReferences(b)
	if out, err := exec.Command("cc", "-Wall", "-Wextra", "-Werror", "-O1", "-static", "-o", reference("gap"), "reference/gap.c").CombinedOutput(); err != nil {
		b.Fatalf("cc: %v\n%s", err, out)
	}
	r := boot(b, "host")
	install(b, r, strings.Replace(unixUnit(), "--pid-file", "--drain-timeout=0 --pid-file", 1))
	must(b, r, "start", "web")
	for b.Loop() {
		busy(b, r)
		must(b, r, "reload", "web")
		inRig(b, r, "touch /run/file")
		for name, args := range map[string]string{"keeper": appSocket + " %d", "bare": "/run/file %d /run/spare"} {
			took := gaps(b, r, fmt.Sprintf("/opt/flipexec/gap "+args, unlinks))
			b.ReportMetric(microseconds(median(took)), name+"-median-us")
			b.ReportMetric(microseconds(slices.Max(took)), name+"-max-us")
		}
		inRig(b, r, "rm /run/file /run/spare")
	}
	b.ReportMetric(0, "ns/op")
}

// gaps are what reference/gap.c prints.
func gaps(b *testing.B, r *rig.Rig, command string) (all []time.Duration) {
	b.Helper()
	for text := range strings.FieldsSeq(inRig(b, r, command)) {
		ns, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, time.Duration(ns))
	}
	return all
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
