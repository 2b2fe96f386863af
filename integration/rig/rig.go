//go:build linux

package rig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// Config says what to boot. Its zero value boots the host's own systemd.
type Config struct {
	Name   string            // letters, digits, ".", "_", "-"; if empty, unique on this host
	Root   string            // "host" (also if empty), a suite as EnsureRoots takes it (fetched if it is missing), or an absolute path
	Bind   []string          // SRC[:DST] of the host, read-only in the rig
	BindRW []string          // the same, writable
	Units  map[string]string // unit name to text: WriteUnit is called for each, after the boot
}

// A Rig is one running systemd. Its methods may be used concurrently, but not during or after Close.
type Rig struct {
	Name string

	pid     int      // PID 1, as the host numbers it
	pidfd   *os.File // PID 1: whose namespaces setns(2) enters
	cgroup  *os.File // where commands are started
	hostNet *os.File // the network namespace to return to
	outer   *exec.Cmd
	stdin   io.Closer // of outer: its end is the end of the rig
	stderr  bytes.Buffer
	close   func() error
}

var started atomic.Int64

// Start boots a rig and returns when multi-user.target has been reached, or fails after a minute at
// most with what PID 1 had to say. Close must be called.
func Start(cfg Config) (*Rig, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("start rig: not root")
	}
	if cfg.Name == "" {
		cfg.Name = fmt.Sprintf("go%d-%d", os.Getpid(), started.Add(1))
	}
	if cfg.Root != "" && cfg.Root != "host" && !filepath.IsAbs(cfg.Root) {
		if err := EnsureRoots(cfg.Root); err != nil {
			return nil, err
		}
	}
	r := &Rig{Name: cfg.Name}
	r.close = sync.OnceValue(r.shutdown)
	if err := r.boot(cfg); err != nil {
		return nil, fmt.Errorf("start rig %s: %w", cfg.Name, errors.Join(err, r.Close()))
	}
	return r, nil
}

// New is Start for a test: a rig that does not start fails it, the journal is shown if it has failed,
// and its cleanup closes the rig and fails it if something stays behind.
func New(t testing.TB, cfg Config) *Rig {
	t.Helper()
	r, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			journal, err := r.Run("journalctl", "--no-pager", "-q", "-n", "200", "-o", "short-precise")
			t.Logf("journal of rig %s (%v):\n%s", r.Name, err, journal)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// PID returns the host's number of the rig's PID 1.
func (r *Rig) PID() int { return r.pid }

// Path returns the path under which the host sees the absolute path p of the rig. The host follows absolute
// symbolic links on the way to its own files, so p must not contain any: /run/x, not /var/run/x.
func (r *Rig) Path(p string) string { return fmt.Sprintf("/proc/%d/root%s", r.pid, p) }

// Close kills PID 1, and with it everything in the rig, and waits until its cgroups and its state on the
// host have been removed. Further calls return the same error.
func (r *Rig) Close() error { return r.close() }
