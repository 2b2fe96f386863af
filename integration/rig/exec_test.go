//go:build linux

package rig_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// cgroupOf returns the host's path of the rig's cgroup.
func cgroupOf(t *testing.T, r *rig.Rig) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); strings.Contains(line, " - cgroup2 ") {
			return filepath.Join(f[4], "sdrig-"+r.Name)
		}
	}
	t.Fatal("no cgroup2 is mounted")
	return ""
}

// hostPID returns the host's number of the first process of a service.
func hostPID(t *testing.T, r *rig.Rig, unit string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(cgroupOf(t, r), "system.slice", unit, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	pid, _, _ := strings.Cut(string(b), "\n")
	return pid
}

func TestKilledCommandDoesNotSurvive(t *testing.T) {
	r := rig.New(t, rig.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cmd := r.Command(ctx, "sh", "-c", "echo $$; exec sleep 1000")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var line [16]byte
	n, err := stdout.Read(line[:])
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	pid := string(bytes.TrimSpace(line[:n]))
	cancel()
	if err := cmd.Wait(); err == nil {
		t.Error("Wait: got no error from a killed command")
	}
	if out, err := r.Run("test", "-e", "/proc/"+pid); pid == "" || err == nil {
		t.Errorf("process %q: still there (%s)", pid, out)
	}
}

func TestCommandsRunInsideOnly(t *testing.T) {
	r := rig.New(t, rig.Config{})
	mark := "/run/mark-of-" + r.Name
	if _, err := r.Run("touch", mark); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Errorf("%s: on the host too", mark)
	}
	if _, err := os.Stat(r.Path(mark)); err != nil {
		t.Errorf("Path: %v", err)
	}
	out, err := r.Command(t.Context(), "readlink", "/proc/self/ns/pid").Output()
	host, _ := os.Readlink("/proc/thread-self/ns/pid")
	if err != nil || strings.TrimSpace(string(out)) == host {
		t.Errorf("pid namespace: got the host's %q (%v)", out, err)
	}
}

func TestBindsAreReadOnlyUnlessAskedFor(t *testing.T) {
	ro, rw := t.TempDir(), t.TempDir()
	r := rig.New(t, rig.Config{Bind: []string{ro + ":/mnt/ro"}, BindRW: []string{rw}})
	if out, err := r.Run("touch", "/mnt/ro/x"); err == nil || !strings.Contains(out, "Read-only") {
		t.Errorf("write to Bind: got %q, %v; want a refusal", out, err)
	}
	if _, err := r.Run("touch", rw+"/x"); err != nil {
		t.Errorf("write to BindRW: %v", err)
	}
	if _, err := os.Stat(rw + "/x"); err != nil {
		t.Errorf("written in the rig: %v", err)
	}
}

func TestWaitForReturnsWhenTrue(t *testing.T) {
	asked := 0
	rig.WaitFor(t, "third answer", 10*time.Second, func() bool { asked++; return asked == 3 })
	if asked != 3 {
		t.Errorf("asked: got %d, want 3", asked)
	}
}
