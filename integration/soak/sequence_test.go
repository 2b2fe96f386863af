//go:build linux

package main

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

func sequence(seed uint64, length int, steps []string) (deeds []deed) {
	for n := range length {
		deeds = append(deeds, draw(seed, uint64(n), steps))
	}
	return deeds
}

func TestSequenceFollowsFromItsSeed(t *testing.T) {
	steps := []string{"asked", "ready seen", "published"}
	first := sequence(7, 1000, steps)
	if again := sequence(7, 1000, steps); !reflect.DeepEqual(first, again) {
		t.Error("seed 7: two different sequences")
	}
	if other := sequence(8, 1000, steps); reflect.DeepEqual(first, other) {
		t.Error("seeds 7 and 8: the same sequence")
	}
	if got := draw(7, 500, steps); !reflect.DeepEqual(got, first[500]) {
		t.Errorf("deed 500 by itself: got %v, want %v", got, first[500])
	}
}

func TestSequenceLeavesNothingOut(t *testing.T) {
	steps := []string{"asked", "ready seen", "published"}
	classes, at := map[string]int{}, map[string]int{}
	for _, d := range sequence(1, 1000, steps) {
		classes[d.class()]++
		at[d.step]++
		if d.victim == manager && d.kill {
			t.Errorf("%v: ends the rig", d)
		}
		if d.kind == fault && !d.kill && (d.pause <= 0 || d.pause > 5*time.Second) {
			t.Errorf("%v: pause %v", d, d.pause)
		}
	}
	want := []string{string(plain), string(readOnly), string(storm), string(garbage), "STOP " + string(manager)}
	want = append(want, badServers...)
	for _, v := range victims {
		if v != manager {
			want = append(want, "KILL "+string(v), "STOP "+string(v))
		}
	}
	for _, class := range want {
		if classes[class] == 0 {
			t.Errorf("%s: never", class)
		}
	}
	if len(classes) != len(want) {
		t.Errorf("classes: got %v, want %q", classes, want)
	}
	for _, step := range steps {
		if at[step] == 0 {
			t.Errorf("step %q: never", step)
		}
	}
	if n := classes[string(plain)]; n < 400 || n > 600 {
		t.Errorf("plain reloads: got %d of 1000, want about half", n)
	}
}

func TestStepsAreFoundInTheSource(t *testing.T) {
	steps, err := findSteps("../../handoff")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"stage started", "started told", "stage may go"} {
		if !slices.Contains(steps, step) {
			t.Errorf("steps: %q is missing in %q", step, steps)
		}
	}
	if _, err := findSteps(t.TempDir()); err == nil {
		t.Error("a folder without source: got success")
	}
}
