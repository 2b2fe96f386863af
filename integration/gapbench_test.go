//go:build linux

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkUnlinkedPath measures for how long a path is away that an old server unlinks,
// from before the unlink(2) to when it is there again: once in each handoff, as soon as
// the server is told to stop; then, while it drains and nothing else happens, many
// times; and beside these with a C program that does nothing but to put it back.
func BenchmarkUnlinkedPath(b *testing.B) {
	const (
		reloads = 100
		unlinks = 200
	)
	buildReferences(b)
	if out, err := exec.Command("cc", "-Wall", "-Wextra", "-Werror", "-O1", "-static", "-o", reference("gap"), "reference/gap.c").CombinedOutput(); err != nil {
		b.Fatalf("cc: %v\n%s", err, out)
	}
	r := boot(b, "host")
	unlinking := fmt.Sprintf(`/bin/sh -c "trap '/opt/flipexec/gap %s 1; kill $$!; exit' TERM; systemd-notify --ready; sleep infinity & wait"`, appSocket)
	install(b, r, strings.Replace(unixUnit("StandardOutput=append:/run/gaps", "StandardError=journal"), goServer, unlinking, 1))
	must(b, r, "start", "web")
	for b.Loop() {
		for range reloads {
			must(b, r, "reload", "web")
			awaitOneGeneration(b, r)
		}
		text, err := os.ReadFile(r.Path("/run/gaps"))
		if err != nil {
			b.Fatal(err)
		}
		reportGaps(b, "handoff", string(text))

		install(b, r, strings.Replace(unixUnit(), "reload\n", "reload --drain-timeout=0 -- "+goServer+"\n", 1))
		must(b, r, "reload", "web")
		awaitOneGeneration(b, r)
		busy(b, r)
		must(b, r, "reload", "web")
		reportGaps(b, "drain", inRig(b, r, fmt.Sprintf("/opt/flipexec/gap %s %d", appSocket, unlinks)))
		reportGaps(b, "bare", inRig(b, r, fmt.Sprintf("touch /run/file; /opt/flipexec/gap /run/file %d /run/spare", unlinks)))
	}
	b.ReportMetric(0, "ns/op")
}

// reportGaps takes what reference/gap.c prints.
func reportGaps(b *testing.B, name, text string) {
	b.Helper()
	var took []time.Duration
	for line := range strings.FieldsSeq(text) {
		ns, err := strconv.Atoi(line)
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Duration(ns))
	}
	if len(took) == 0 {
		b.Fatalf("%s: nothing was measured", name)
	}
	b.ReportMetric(microseconds(median(took)), name+"-median-us")
	b.ReportMetric(microseconds(slices.Max(took)), name+"-max-us")
}
