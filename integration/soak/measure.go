//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// A measure is what a long life must not let grow.
type measure struct {
	keeperFiles, serverFiles []string // descriptors
	pss                      int      // of the keeper, in kB
	processes                int      // of the whole rig
	files                    int      // in the runtime directory
	left                     int      // more of them, by killed keepers
}

func (m measure) String() string {
	return fmt.Sprintf("descriptors: keeper %d, server %d; keeper's PSS %d kB; processes in the rig: %d; files in the runtime directory: %d, and %d of killed keepers",
		len(m.keeperFiles), len(m.serverFiles), m.pss, m.processes, m.files, m.left)
}

// moreMemory is by how many kB the PSS of two keepers may differ. A keeper that has
// not let go of its program's pages holds more than twice as much.
const moreMemory = 512

func (m measure) compare(before measure) error {
	if len(m.keeperFiles) != len(before.keeperFiles) || len(m.serverFiles) != len(before.serverFiles) || m.processes != before.processes || m.files != before.files {
		return fmt.Errorf("not back to where it was: %v, was %v", m, before)
	}
	if m.pss > before.pss+moreMemory {
		return fmt.Errorf("memory has grown: %v, was %v", m, before)
	}
	return nil
}

// measure reloads a few times, so that like is compared with like, and waits until
// the keeper sleeps.
func (s *soak) measure(ctx context.Context) (m measure, err error) {
	for range 3 {
		if _, err := s.rig.Systemctl("reload", "web"); err != nil {
			return m, err
		}
		if err := s.settle(ctx); err != nil {
			return m, err
		}
	}
	now, err := s.look()
	if err != nil {
		return m, err
	}
	if err := s.checkInvariants(ctx, now); err != nil {
		return m, err
	}
	if err := s.awaitSleep(ctx, now.keeper); err != nil {
		return m, err
	}
	return s.count(now)
}

// awaitSleep waits until the keeper has used no processor time for a while.
func (s *soak) awaitSleep(ctx context.Context, p process) error {
	last, since := "", time.Now()
	return await(ctx, "the keeper sleeps", 20*time.Second, func() bool {
		used, err := os.ReadFile(p.path("schedstat"))
		if err != nil || string(used) != last {
			last, since = string(used), time.Now()
		}
		return time.Since(since) > time.Second
	})
}

func (s *soak) count(now state) (m measure, err error) {
	server, ok := find(s.processes(), func(p process) bool { return p.pid == now.main })
	if !ok {
		return m, fmt.Errorf("no process %d", now.main)
	}
	m.keeperFiles, m.serverFiles = now.keeper.descriptors(), server.descriptors()
	files, err := os.ReadDir(s.rig.Path("/run/web"))
	if err != nil {
		return m, err
	}
	left, err := s.listRuntime(now.generation)
	if err != nil {
		return m, err
	}
	m.left = len(left)
	m.files = len(files) - m.left
	all, err := os.ReadDir(s.rig.Path("/proc"))
	if err != nil {
		return m, err
	}
	for _, e := range all {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			m.processes++
		}
	}
	m.pss, err = pss(now.keeper)
	return m, err
}

// pss is the proportional set size, proc_pid_smaps(5).
func pss(p process) (int, error) {
	text, err := os.ReadFile(p.path("smaps_rollup"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			return strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
		}
	}
	return 0, fmt.Errorf("%v: no PSS", p)
}
