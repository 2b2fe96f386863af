//go:build linux

// Package foreground_test runs flipexec as a shell does, in a terminal of its own or
// without one. It needs neither systemd nor root.
package foreground_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// patience is for what must happen; nothing takes so long.
const patience = 30 * time.Second

// programs is the folder with the programs under test.
var programs string

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // they wait most of the time
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	rig.DefaultSignals()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "flipexec-foreground-")
	if err == nil {
		defer os.RemoveAll(dir)
		programs = dir
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build makes flipexec as the Makefile does, and the server.
func build(dir string) error {
	for _, args := range [][]string{
		{"make", "--silent", "-C", "../..", "flipexec", "BINARY=" + filepath.Join(dir, "flipexec")},
		{"go", "build", "-o", dir, "../servers/witness"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", args, err, out)
		}
	}
	return nil
}

// A record is text that grows, and can be awaited.
type record struct {
	mu      sync.Mutex
	text    string
	changed chan struct{} // closed and replaced when it has grown
}

func newRecord() *record { return &record{changed: make(chan struct{})} }

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text += string(b)
	close(r.changed)
	r.changed = make(chan struct{})
	return len(b), nil
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text
}

// await waits until the text is as it has to be.
func (r *record) await(t *testing.T, what string, done func(text string) bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		r.mu.Lock()
		text, changed := r.text, r.changed
		r.mu.Unlock()
		if done(text) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("waited %v for %s in:\n%s", patience, what, text)
		}
	}
}

// awaitText waits until a text has come so often.
func (r *record) awaitText(t *testing.T, want string, times int) {
	t.Helper()
	r.await(t, fmt.Sprintf("%q, %d times,", want, times), func(text string) bool { return strings.Count(text, want) >= times })
}

// eventually waits for state of which nobody tells.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s", patience, what)
		}
	}
}
