//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// A soak is one run of the program.
type soak struct {
	config
	rig      *rig.Rig
	steps    []string
	idle     []string     // descriptors of a keeper when nothing is under way
	ownKills map[int]bool // generations whose keeper was killed, in this run of the unit
	traffic  *traffic
	report   *report
}

// run is the soak from its start to the report.
func (s *soak) run(ctx context.Context) (err error) {
	if err := s.start(); err != nil {
		return err
	}
	before, err := s.measure(ctx)
	if err != nil {
		return err
	}
	s.idle = before.keeperFiles
	fmt.Printf("seed %d, from handoff %d; %d steps: %s\nat first: %v\n", s.seed, s.from, len(s.steps), strings.Join(s.steps, ", "), before)
	defer func() { fmt.Print(s.report) }()
	begin := time.Now()
	pause := s.least / time.Duration(s.handoffs)
	for i := uint64(0); i < s.handoffs || time.Since(begin) < s.least; i++ {
		number := s.from + i
		if err := s.handoff(ctx, number, begin.Add(time.Duration(i+1)*pause)); err != nil {
			return s.explain(ctx, number, err)
		}
	}
	after, err := s.measure(ctx)
	if err != nil {
		return s.explain(ctx, s.from+s.handoffs, err)
	}
	fmt.Printf("at last:  %v\n", after)
	return after.compare(before)
}

// explain says where a violation was met and how to see it again.
func (s *soak) explain(ctx context.Context, number uint64, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	journal := strings.Split(strings.TrimSpace(s.rig.Journal("web.service")), "\n")
	for _, line := range journal[max(0, len(journal)-60):] {
		fmt.Println("  |", line)
	}
	for _, p := range s.processes() {
		fmt.Printf("  process %v, stopped: %v\n", p, p.stopped())
	}
	return fmt.Errorf("handoff %d: %v: %w\nto do it again: go run ./integration/soak -seed %d -handoffs %d -least 0\nor from there: go run ./integration/soak -seed %d -from %d -handoffs 10 -least 0",
		number, draw(s.seed, number, s.steps), err, s.seed, number, s.seed, number)
}

// start boots the unit.
func (s *soak) start() error {
	if err := os.Mkdir(s.rig.Path(faults), 0o755); err != nil {
		return err
	}
	if err := s.rig.WriteUnit("web.service", unit); err != nil {
		return err
	}
	if _, err := s.rig.Systemctl("enable", "--quiet", "web"); err != nil {
		return err
	}
	_, err := s.rig.Systemctl("start", "web")
	return err
}

// handoff does one deed under load, which goes on until the next is due.
func (s *soak) handoff(ctx context.Context, number uint64, due time.Time) error {
	d := draw(s.seed, number, s.steps)
	before, err := s.look()
	if err != nil {
		return err
	}
	s.traffic = startTraffic(s.rig)
	outcome, err := s.judge(ctx, d, before)
	if err == nil {
		err = until(ctx, due)
	}
	failed := s.traffic.stop(s.report)
	if err != nil {
		return errors.Join(err, failed)
	}
	s.report.add(d, outcome)
	fmt.Printf("%5d  %-55v %v\n", number, d, outcome)
	return failed
}

// judge does the deed, waits for the end of its handoff and looks at what came of it.
func (s *soak) judge(ctx context.Context, d deed, before state) (outcome, error) {
	defer s.traffic.endExcuse()
	done, err := s.perform(ctx, d)
	if err != nil {
		return outcome{}, err
	}
	if err := s.settle(ctx); err != nil {
		return outcome{}, err
	}
	after, err := s.look()
	if err != nil {
		return outcome{}, err
	}
	o := outcomeOf(done, before, after)
	if err := o.check(d); err != nil {
		return o, err
	}
	if after.invocation != before.invocation {
		clear(s.ownKills) // the manager has emptied the runtime directory
	}
	if after.keeper.Process == nil {
		return o, s.replaceLostKeeper(ctx, after)
	}
	return o, s.checkInvariants(ctx, after)
}

// until waits for a point in time.
func until(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// await asks until done returns true: for state that can only be asked for.
func await(ctx context.Context, what string, patience time.Duration, done func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for: %s", patience, what)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}
