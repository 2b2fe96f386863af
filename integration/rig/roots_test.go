//go:build linux

package rig_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// waits says whether somebody waits for a flock(2) on the file.
func waits(t *testing.T, f *os.File) bool {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		t.Fatal(err)
	}
	inode := fmt.Sprintf(":%d ", info.Sys().(*syscall.Stat_t).Ino)
	for line := range strings.Lines(string(locks)) {
		if strings.Contains(line, "-> FLOCK") && strings.Contains(line, inode) {
			return true
		}
	}
	return false
}

func TestEnsureRootsWaitsForTheOtherAndDoesNotFetchAgain(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("FLIPEXEC_RIG_ROOTS", dir)
	t.Setenv("RIG_MIRROR", "file:///nonexistent") // a fetch would fail
	other, err := os.Create(filepath.Join(dir, ".lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { result <- rig.EnsureRoots("trixie") }()
	rig.WaitFor(t, "EnsureRoots at the lock", 10*time.Second, func() bool { return waits(t, other) })
	if err := os.Mkdir(filepath.Join(dir, "trixie"), 0o755); err != nil {
		t.Fatal(err)
	}
	other.Close()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestFailedFetchSaysWhyAndLeavesNoRoot(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("FLIPEXEC_RIG_ROOTS", dir)
	t.Setenv("RIG_MIRROR", "file:///nonexistent")
	err := rig.EnsureRoots("trixie")
	if err == nil || !strings.Contains(err.Error(), "file:/nonexistent") {
		t.Errorf("error: got %v, want one that names the mirror", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != ".lock" {
		t.Errorf("left behind: got %q (%v), want the lock alone", left, err)
	}
}
