//go:build linux

package main

import "testing"

// TestOutcomeMustFitItsDeed: what the soak takes for a defect.
func TestOutcomeMustFitItsDeed(t *testing.T) {
	went := func(w way, d done) outcome { return outcome{done: d, way: w} }
	hit := func(p part) done { return done{reached: true, hit: true, part: p} }
	succeeded := func(d done) done { d.succeeded = true; return d }
	killed := deed{kind: fault, kill: true}
	stopped := deed{kind: fault}
	lost := func(d done) outcome { return outcome{done: d, way: back, lostKeeper: true} }
	for _, c := range []struct {
		name string
		deed deed
		outcome
		fits bool
	}{
		{"plain", deed{kind: plain}, went(forward, succeeded(done{})), true},
		{"plain that fails", deed{kind: plain}, went(back, done{}), false},
		{"plain that restarts", deed{kind: plain}, went(restarted, done{}), false},
		{"success that changed nothing", stopped, went(back, succeeded(hit(aKeeper))), false},
		{"failure that changed something", stopped, went(forward, hit(aKeeper)), false},
		{"dead launcher cannot tell", killed, went(forward, hit(aLauncher)), true},
		{"stopped launcher can", stopped, went(forward, hit(aLauncher)), false},
		{"dead server", killed, went(restarted, hit(aServer)), true},
		{"stopped server", stopped, went(restarted, hit(aServer)), false},
		{"dead keeper", killed, lost(hit(aKeeper)), true},
		{"keeper that left by itself", killed, lost(hit(aLauncher)), false},
		{"step that nobody reached", killed, went(back, done{}), false},
		{"bad server", deed{kind: badServer, environment: "GOHTTP_FAIL=3"}, went(back, done{}), true},
		{"bad server that was taken", deed{kind: badServer, environment: "GOHTTP_FAIL=3"}, went(forward, succeeded(done{})), false},
		{"server that dies when it is ready", deed{kind: badServer, environment: "GOHTTP_DIE=1"}, went(restarted, done{}), true},
	} {
		if err := c.check(c.deed); (err == nil) != c.fits {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
