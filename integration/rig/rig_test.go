//go:build linux

package rig_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/integration/rig"
)

func TestHostBootsAndShowsUnits(t *testing.T) {
	r := rig.New(t, rig.Config{Units: map[string]string{
		"hello.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/echo hello from the unit\n",
	}})
	if out, err := r.Systemctl("start", "hello"); err != nil {
		t.Fatal(out, err)
	}
	got := r.Show("hello", "ActiveState", "SubState", "Result")
	for property, want := range map[string]string{"ActiveState": "active", "SubState": "exited", "Result": "success"} {
		if got[property] != want {
			t.Errorf("%s: got %q, want %q", property, got[property], want)
		}
	}
	if got, want := r.Journal("hello"), "hello from the unit"; !strings.Contains(got, want) {
		t.Errorf("journal: got %q, want %q in it", got, want)
	}
}

func TestEveryVersionBoots(t *testing.T) {
	var suites []string
	for _, v := range rig.Versions {
		suites = append(suites, v.Suite)
	}
	if err := rig.EnsureRoots(suites...); err != nil {
		t.Fatal(err)
	}
	newest := rig.Versions[len(rig.Versions)-1].Suite
	for _, v := range rig.Versions {
		t.Run(v.Suite, func(t *testing.T) {
			r := rig.New(t, rig.Config{Root: v.Suite})
			got, err := r.Version()
			if err != nil {
				t.Fatal(err)
			}
			if got != v.Version && (v.Suite != newest || got < v.Version) {
				t.Errorf("version: got %d, want %d", got, v.Version)
			}
			if out, err := r.Run("systemctl", "is-system-running"); err != nil {
				t.Errorf("is-system-running: got %q, want %q", out, "running")
			}
			checkUserManager(t, r)
		})
	}
}

func checkUserManager(t *testing.T, r *rig.Rig) {
	t.Helper()
	if out, err := r.Systemctl("start", "user@1000"); err != nil {
		t.Fatal(out, err)
	}
	if out, err := r.RunAs("rig", 1000, "systemctl", "--user", "is-system-running"); err != nil {
		t.Errorf("systemd --user: got %q, want %q", out, "running")
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	r := rig.New(t, rig.Config{Units: map[string]string{"sleep.service": "[Service]\nExecStart=/bin/sleep 1000\n"}})
	if out, err := r.Systemctl("start", "sleep"); err != nil {
		t.Fatal(out, err)
	}
	pid := hostPID(t, r, "sleep.service")
	left := []string{"/run/sdrig/" + r.Name, cgroupOf(t, r), "/proc/" + pid}
	for _, path := range left {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("before Close: %v", err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range left {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Close: stat %s: got %v, want %v", path, err, fs.ErrNotExist)
		}
	}
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), r.Name) {
		t.Errorf("after Close: the host still has a mount of %s", r.Name)
	}
}

func TestFailedBootSaysWhyAndLeavesNothingBehind(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(root+"/usr/lib/systemd", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/usr/lib/systemd/systemd", []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	const name = "failing-boot"
	_, err := rig.Start(rig.Config{Name: name, Root: root})
	if err == nil || !strings.Contains(err.Error(), "did not come up") {
		t.Errorf("error: got %v, want one that says %q", err, "did not come up")
	}
	if _, err := os.Stat("/run/sdrig/" + name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("state: got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestSecondRigOfANameIsRefused(t *testing.T) {
	r := rig.New(t, rig.Config{})
	second, err := rig.Start(rig.Config{Name: r.Name})
	if err == nil {
		second.Close()
		t.Fatal("second Start: got no error")
	}
	if got := r.Show("rig.target", "ActiveState")["ActiveState"]; got != "active" {
		t.Errorf("first rig: got %q, want %q", got, "active")
	}
}
