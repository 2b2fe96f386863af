package handoff

import (
	"fmt"
	"testing"
	"time"
)

// TestComplaintsAreFew: one line of a kind in a while, and few kinds.
func TestComplaintsAreFew(t *testing.T) {
	var c complaints
	now := time.Now()
	said := 0
	for range 2 {
		for i := range 2 * maxComplaints {
			if c.due(fmt.Sprint(i), now) {
				said++
			}
		}
	}
	if said != maxComplaints {
		t.Errorf("got %d lines, want %d", said, maxComplaints)
	}
	if !c.due("0", now.Add(silence)) {
		t.Errorf("got none after %v", silence)
	}
}
