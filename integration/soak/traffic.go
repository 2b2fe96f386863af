//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/flipexec/flipexec/integration/load"
	"github.com/flipexec/flipexec/integration/rig"
)

// excused is the window of the requests that may fail: their own server was killed,
// or the unit was down after it.
const excused = "excused"

// traffic is the load during one handoff, so that a failed request is that one's.
type traffic struct{ loads map[string]*load.Generator }

func startTraffic(r *rig.Rig) *traffic {
	fresh := load.Config{Dial: r.Dial, Network: "tcp", Addr: "127.0.0.1:80", Rate: 200, Timeout: 15 * time.Second}
	kept := fresh
	kept.Rate, kept.Conns = 100, 8
	path := fresh
	path.Network, path.Addr, path.Rate = "unix", "/run/web/web.sock", 50
	return &traffic{map[string]*load.Generator{
		"new connections":  load.Start(fresh),
		"kept connections": load.Start(kept),
		"unix path":        load.Start(path),
	}}
}

func (t *traffic) excuse() {
	for _, g := range t.loads {
		g.Mark(excused)
	}
}

func (t *traffic) endExcuse() {
	for _, g := range t.loads {
		g.EndMark()
	}
}

// stop ends the load, and fails if a request did without excuse.
func (t *traffic) stop(sum *report) error {
	var err error
	for name, g := range t.loads {
		r := g.Stop()
		pardoned := r.Windows[excused].Failed
		sum.requests += r.Sent
		sum.excused += pardoned
		if failed := r.Failures() - pardoned; failed > 0 {
			sum.failed += failed
			err = fmt.Errorf("%s: %d requests failed without excuse: %v", name, failed, r)
		}
	}
	return err
}
