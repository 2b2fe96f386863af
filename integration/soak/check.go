//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settleTime bounds the end of a handoff: the drain timeout, systemd's own timeouts
// for a start and a stop, and a margin.
const settleTime = 40 * time.Second

// A state is what is seen of the unit while no handoff is under way.
type state struct {
	main       int // as systemd knows it
	invocation string
	generation int     // that answers
	keeper     process // zero if it is lost
}

// look takes the state of a unit that has settled.
func (s *soak) look() (state, error) {
	p := s.rig.Show("web.service", "MainPID", "InvocationID")
	main, err := strconv.Atoi(p["MainPID"])
	if err != nil {
		return state{}, fmt.Errorf("main PID: %w", err)
	}
	_, generation, err := s.ask("tcp", "127.0.0.1:80")
	if err != nil {
		return state{}, err
	}
	keeper, _ := find(s.processes(), func(p process) bool { return p.part == aKeeper })
	return state{main, p["InvocationID"], generation, keeper}, nil
}

// settle waits until the unit is active with one server, at most one keeper and
// nothing else: invariant I3. The server may not be the main process yet where that
// has just died.
func (s *soak) settle(ctx context.Context) error {
	return await(ctx, "the unit settles with one generation", settleTime, func() bool {
		all := s.processes()
		server, _ := find(all, func(p process) bool { return p.part == aServer })
		if count(all, aServer) != 1 || count(all, aKeeper) > 1 || count(all, aLauncher, aStage, aStranger) > 0 {
			return false
		}
		p := s.rig.Show("web.service", "ActiveState", "SubState", "Job", "MainPID")
		return p["ActiveState"] == "active" && p["SubState"] == "running" && p["Job"] == "" && p["MainPID"] == strconv.Itoa(server.pid)
	})
}

// checkInvariants is what must hold after every handoff that has left a keeper.
func (s *soak) checkInvariants(ctx context.Context, now state) error {
	if now.keeper.generation != now.generation {
		return fmt.Errorf("keeper %v, but generation %d answers", now.keeper, now.generation)
	}
	if err := s.checkAgreement(now); err != nil {
		return err
	}
	for _, p := range s.processes() {
		if p.stopped() {
			return fmt.Errorf("process %v is stopped", p)
		}
	}
	delete(s.ownKills, now.generation) // of an earlier try
	return s.awaitRest(ctx, now)
}

// awaitRest waits for the last that a keeper does after a handoff.
func (s *soak) awaitRest(ctx context.Context, now state) error {
	var strange error
	err := await(ctx, "the keeper has done everything", 3*time.Second, func() bool {
		_, strange = s.listRuntime(now.generation)
		if files := now.keeper.descriptors(); strange == nil && len(files) != len(s.idle) && s.idle != nil {
			strange = fmt.Errorf("descriptors of the keeper: got %q, want as many as %q", files, s.idle)
		}
		return strange == nil
	})
	return errors.Join(err, strange)
}

// checkAgreement is invariant I4, on each socket.
func (s *soak) checkAgreement(now state) error {
	text, err := os.ReadFile(s.rig.Path("/run/web/web.pid"))
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(text)); got != strconv.Itoa(now.main) {
		return fmt.Errorf("PID file: got %s, want the main PID %d", got, now.main)
	}
	for network, address := range map[string]string{"tcp": "127.0.0.1:80", "unix": "/run/web/web.sock"} {
		pid, _, err := s.ask(network, address)
		if err != nil {
			return err
		}
		if pid != now.main {
			return fmt.Errorf("%s: process %d answers, want the main process %d", address, pid, now.main)
		}
	}
	return nil
}

// listRuntime lists the runtime directory apart from what a keeper that was killed
// could not remove: that goes with the unit. Everything that should be there and
// nothing else may be.
func (s *soak) listRuntime(generation int) (left []string, err error) {
	entries, err := os.ReadDir(s.rig.Path("/run/web"))
	if err != nil {
		return nil, err
	}
	var got []string
	for _, e := range entries {
		if s.leftBehind(e.Name()) {
			left = append(left, e.Name())
		} else {
			got = append(got, e.Name())
		}
	}
	link := fmt.Sprintf("flipexec-notify-%d", generation)
	if want := []string{link, link + ".sock", "flipexec.sock", "web.pid", "web.sock"}; !slices.Equal(got, want) {
		return left, fmt.Errorf("runtime directory: got %q, want %q", got, want)
	}
	return left, nil
}

func (s *soak) leftBehind(name string) bool {
	number, ok := strings.CutPrefix(name, "flipexec-notify-")
	number, _, _ = strings.Cut(number, ".")
	generation, err := strconv.Atoi(number)
	return ok && err == nil && s.ownKills[generation]
}

// ask makes a request on a connection of its own and returns who has answered.
func (s *soak) ask(network, address string) (pid, generation int, err error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return s.rig.Dial(ctx, network, address) }
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	answer, err := client.Get("http://web/")
	if err != nil {
		return 0, 0, err
	}
	if err := answer.Body.Close(); err != nil {
		return 0, 0, err
	}
	pid, perr := strconv.Atoi(answer.Header.Get("X-Pid"))
	generation, gerr := strconv.Atoi(answer.Header.Get("X-Generation"))
	return pid, generation, errors.Join(perr, gerr)
}

// replaceLostKeeper is for a server that has outlived its keeper: it serves on, the
// next reload says what is the matter, and a restart mends it.
func (s *soak) replaceLostKeeper(ctx context.Context, now state) error {
	if err := s.checkAgreement(now); err != nil {
		return err
	}
	said := s.rig.Journal("web.service")
	if _, err := s.rig.Systemctl("reload", "web"); err == nil {
		return errors.New("reload without a keeper: got success")
	}
	const reason = "the keeper of the running generation is gone"
	if lines := strings.TrimPrefix(s.rig.Journal("web.service"), said); !strings.Contains(lines, reason) {
		return fmt.Errorf("reload without a keeper: want %q in %q", reason, lines)
	}
	if err := s.checkAgreement(now); err != nil {
		return err
	}
	s.traffic.excuse()
	if _, err := s.rig.Systemctl("restart", "web"); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	clear(s.ownKills)
	now, err := s.look()
	if err != nil {
		return err
	}
	return s.checkInvariants(ctx, now)
}
