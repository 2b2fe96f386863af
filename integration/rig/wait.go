//go:build linux

package rig

import (
	"testing"
	"time"
)

// WaitFor asks until done returns true, and fails the test with what when it has not done so within timeout.
// It is for state that can only be asked for, like systemctl's; await an event where there is one.
func WaitFor(t testing.TB, what string, timeout time.Duration, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(timeout)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s", timeout, what)
		}
		<-tick.C
	}
}
