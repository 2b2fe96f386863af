//go:build linux

package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/load"
	"github.com/flipexec/flipexec/integration/rig"
	"golang.org/x/sys/unix"
)

// The size of BenchmarkHandoffs.
const (
	handoffs        = 100
	connectionRate  = 2_000 // new connections a second
	leastRequests   = 200_000
	betweenHandoffs = time.Second
)

// BenchmarkHandoffs reloads under new connections and fails if one of them does. The
// generator shares the machine with what it measures: late requests are its own.
func BenchmarkHandoffs(b *testing.B) {
	r := boot(b, "host")
	install(b, r, unitText(goServer))
	must(b, r, "start", "web")
	var report load.Report
	for b.Loop() {
		report = handoffsUnderLoad(b, r)
	}
	if report.Failures() > 0 || report.OK < leastRequests {
		b.Fatalf("got %d requests, want at least %d and none failed:\n%v", report.OK, leastRequests, report)
	}
	if got, want := len(report.Answers), handoffs+1; got != want {
		b.Errorf("processes that answered: got %d, want %d", got, want)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(report.OK), "requests")
	b.ReportMetric(float64(report.Failures()), "failed")
	b.ReportMetric(float64(report.Late), "late")
	for name, w := range map[string]load.Window{"in": report.Windows["handoff"], "out": report.Windows[load.Outside]} {
		b.ReportMetric(milliseconds(w.P50), name+"-p50-ms")
		b.ReportMetric(milliseconds(w.P99), name+"-p99-ms")
		b.ReportMetric(milliseconds(w.P999), name+"-p99.9-ms")
	}
}

// handoffsUnderLoad reloads once in a while, and returns when there were enough
// requests as well.
func handoffsUnderLoad(b *testing.B, r *rig.Rig) load.Report {
	b.Helper()
	enough := time.After((leastRequests/connectionRate + 1) * time.Second)
	g := startLoad(b, load.Config{Dial: r.Dial, Network: "tcp", Addr: "127.0.0.1:80", Rate: connectionRate, Timeout: 10 * time.Second})
	tick := time.NewTicker(betweenHandoffs)
	defer tick.Stop()
	for range handoffs {
		<-tick.C
		g.Mark("handoff")
		must(b, r, "reload", "web")
		g.EndMark()
	}
	<-enough
	return g.Stop()
}

// BenchmarkReadyToStop measures from READY=1 of a new server to the stop signal at the
// old one. In between are the PID file, systemd's answer to the barrier, and the commit.
func BenchmarkReadyToStop(b *testing.B) {
	const reloads = 50
	buildReferences(b)
	r := boot(b, "host")
	install(b, r, unitText("/opt/flipexec/clock", "StandardOutput=append:/run/clock", "StandardError=journal"))
	must(b, r, "start", "web")
	generation := 1
	var took []time.Duration
	for b.Loop() {
		for range reloads {
			must(b, r, "reload", "web")
			awaitOneGeneration(b, r)
			generation++
		}
	}
	text, err := os.ReadFile(r.Path("/run/clock"))
	if err != nil {
		b.Fatal(err)
	}
	events := parseClock(b, string(text))
	for g := 2; g <= generation; g++ {
		took = append(took, when(b, events, "stop", g-1)-when(b, events, "ready", g))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(milliseconds(median(took)), "median-ms")
	b.ReportMetric(milliseconds(slices.Max(took)), "max-ms")
	b.Log("goal: under 5 ms")
}

// BenchmarkKeeperMemory weighs keepers that have fallen asleep.
func BenchmarkKeeperMemory(b *testing.B) {
	r := boot(b, "host")
	install(b, r, unitText(goServer))
	must(b, r, "start", "web")
	checkMemory(b, r, keeperPID)
	b.Log("goal: 3.0 MB PSS, 1.2 MB of it private and dirty")
}

// BenchmarkForegroundMemory weighs a foreground process, which goes through all that
// its keepers share.
func BenchmarkForegroundMemory(b *testing.B) {
	r := boot(b, "host")
	startForeground(b, r)
	checkMemory(b, r, mainPID)
	b.Log("goal: as a keeper, BenchmarkKeeperMemory")
}

// checkMemory weighs a process of five generations once it has fallen asleep, beside a
// Go program that does nothing but wait.
func checkMemory(b *testing.B, r *rig.Rig, find func(testing.TB, *rig.Rig) int) {
	b.Helper()
	buildReferences(b)
	unix.Sync() // pages of a program just written count as dirty
	bare := weighBare(b)
	var m memory
	for b.Loop() {
		for generation := 1; generation <= 5; generation++ {
			pid := find(b, r)
			awaitSleep(b, r, pid)
			m = parseMemory(b, readProc(b, r, pid, "smaps_rollup"))
			b.Logf("generation %d: %v", generation, m)
			must(b, r, "reload", "web")
			awaitOneGeneration(b, r)
		}
	}
	b.Logf("a Go program that waits: %v", bare)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(m.pss)/1000, "pss-MB")
	b.ReportMetric(float64(m.dirty)/1000, "dirty-MB")
	b.ReportMetric(float64(m.pss)/float64(bare.pss), "x-bare-pss")
	b.ReportMetric(float64(m.dirty)/float64(bare.dirty), "x-bare-dirty")
}

// A memory is what a process holds, in units of 1000 bytes.
type memory struct{ pss, clean, dirty int }

func (m memory) String() string {
	return fmt.Sprintf("PSS %d kB, private clean %d kB, private dirty %d kB", m.pss, m.clean, m.dirty)
}

// parseMemory reads smaps_rollup, whose "kB" are 1024 bytes.
func parseMemory(b testing.TB, text string) memory {
	b.Helper()
	value := func(key string) int {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.Join(fields(text, key), ""), " kB"))
		if err != nil {
			b.Fatalf("smaps_rollup: %s: %v", key, err)
		}
		return n * 1024 / 1000
	}
	return memory{value("Pss"), value("Private_Clean"), value("Private_Dirty")}
}

// weighBare weighs reference/block once it sleeps in its read.
func weighBare(b *testing.B) memory {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, reference("block"))
	input, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	proc := fmt.Sprintf("/proc/%d/", cmd.Process.Pid)
	rig.WaitFor(b, "the bare program waits in read", 10*time.Second, func() bool {
		call, err := os.ReadFile(proc + "syscall")
		return err == nil && strings.HasPrefix(string(call), fmt.Sprintf("%d 0x0 ", unix.SYS_READ))
	})
	text, err := os.ReadFile(proc + "smaps_rollup")
	if err != nil {
		b.Fatal(err)
	}
	if err := input.Close(); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return parseMemory(b, string(text))
}
