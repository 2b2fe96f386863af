//go:build linux

package main

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// hit kills the victim, or stops it for a while; who is there is let go on at once,
// unless it is the victim. It returns what part the victim has, and whether it was
// there.
func (s *soak) hit(ctx context.Context, d deed, before state, there process) (part, bool, error) {
	if d.victim == manager {
		return "", true, s.stopManager(ctx, d.pause, there)
	}
	v, ok := s.findVictim(d.victim, before, there)
	if !ok {
		return "", false, nil
	}
	if !d.kill {
		return v.part, true, stopFor(ctx, d.pause, v, there)
	}
	switch v.part {
	case aServer:
		s.traffic.excuse()
	case aKeeper:
		s.ownKills[v.generation] = true
	}
	return v.part, true, v.signal(syscall.SIGKILL)
}

// findVictim is the process that has the victim's part in this handoff.
func (s *soak) findVictim(v victim, before state, there process) (process, bool) {
	all := s.processes()
	switch v {
	case whoIsThere:
		return there, true
	case launcher:
		return find(all, func(p process) bool { return p.part == aLauncher })
	case previousKeeper:
		return find(all, func(p process) bool { return p.part == aKeeper && p.generation == before.generation })
	case newKeeper:
		return find(all, func(p process) bool { return p.part == aKeeper && p.generation == before.generation+1 })
	case previousServer:
		return find(all, func(p process) bool { return p.pid == before.main })
	}
	return find(all, func(p process) bool { return (p.part == aServer || p.part == aStage) && p.pid != before.main })
}

// stopFor stops the victim, lets who is there go on, and the victim after a while.
func stopFor(ctx context.Context, pause time.Duration, v, there process) error {
	if err := v.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if v.pid != there.pid {
		if err := there.signal(syscall.SIGCONT); err != nil {
			return errors.Join(err, v.signal(syscall.SIGCONT))
		}
	}
	err := until(ctx, time.Now().Add(pause))
	return errors.Join(err, v.signal(syscall.SIGCONT))
}

// stopManager does the same to PID 1, which lives as long as the rig.
func (s *soak) stopManager(ctx context.Context, pause time.Duration, there process) error {
	if err := syscall.Kill(s.rig.PID(), syscall.SIGSTOP); err != nil {
		return err
	}
	err := there.signal(syscall.SIGCONT)
	err = errors.Join(err, until(ctx, time.Now().Add(pause)))
	return errors.Join(err, syscall.Kill(s.rig.PID(), syscall.SIGCONT))
}
