//go:build linux

package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// storm is how many reloads come at once.
const storm = 50

// An ending is that of a command.
type ending struct {
	status int
	said   string
}

// atOnce runs as many commands as a storm has, all at the same time. A command
// without an exit status, which so has not ended by itself, fails the test.
func atOnce(t *testing.T, r *rig.Rig, env []string, argv ...string) []ending {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all := make([]ending, storm)
	var commands sync.WaitGroup
	for i := range all {
		commands.Go(func() {
			cmd := r.Command(ctx, argv...)
			cmd.Env = append(cmd.Env, env...)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && (!errors.As(err, &exit) || !exit.Exited()) {
				t.Errorf("%q: no exit status: %v", argv, err)
				return
			}
			all[i] = ending{cmd.ProcessState.ExitCode(), string(out)}
		})
	}
	commands.Wait()
	return all
}

// checkAll finds the same in every ending: the status, and if something is
// wanted, one line with it and nothing else.
func checkAll(t *testing.T, all []ending, status int, want string) {
	t.Helper()
	for i, o := range all {
		if o.status != status {
			t.Errorf("command %d: got status %d, want %d: %q", i, o.status, status, o.said)
		}
		if want != "" && (!strings.HasPrefix(o.said, "flipexec: "+want) || strings.Count(o.said, "\n") != 1) {
			t.Errorf("command %d: got %q, want one line with %q in it", i, o.said, want)
		}
	}
}

// asControlProcess is the environment by which systemd makes a reload one: without
// it flipexec refuses to run by hand.
func asControlProcess(t *testing.T, r *rig.Rig) []string {
	t.Helper()
	return []string{
		"MAINPID=" + show(r, "MainPID"), "NOTIFY_SOCKET=/run/systemd/notify",
		"RUNTIME_DIRECTORY=/run/web", "INVOCATION_ID=" + show(r, "InvocationID"),
	}
}

// generation is the one that answers.
func generation(t *testing.T, r *rig.Rig) int {
	t.Helper()
	_, header := get(t, r, "/")
	n, err := strconv.Atoi(header.Get("X-Generation"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestReloadsAtOnceAllSucceed: systemd merges what it is asked for while a reload
// runs, so that whoever asks in a storm waits for a reload that began after it had
// asked, and there are few.
func TestReloadsAtOnceAllSucceed(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	load := startTraffic(t, r)
	first := beginReload(t, r, "GOHTTP_START_DELAY=3s") // the storm begins while it runs
	checkAll(t, atOnce(t, r, nil, "systemctl", "reload", "web"), 0, "")
	if err := <-first; err != nil {
		t.Error(err)
	}
	if got := checkAgreement(t, r); got == pid {
		t.Errorf("main process: still %d", pid)
	}
	awaitOneGeneration(t, r)
	load.stop(t)
	// The second, and the third for all that came meanwhile. A slow machine
	// may need longer to ask than the second takes to start.
	if got := generation(t, r); got < 3 || got > 5 {
		t.Errorf("generation: got %d, want 3 or little more", got)
	}
}

// TestReloadsAtOnceByHandAreRefused: nobody but the manager serialises them, so the
// keeper does.
func TestReloadsAtOnceByHandAreRefused(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid, before := checkAgreement(t, r), world(t, r)
	load := startTraffic(t, r)
	unchanged := func() {
		t.Helper()
		if got := checkAgreement(t, r); got != pid {
			t.Errorf("main process: got %d, want %d", got, pid)
		}
		// A launcher may be gone before the keeper has closed its connection.
		rig.WaitFor(t, "the world is as before", 10*time.Second, func() bool { return world(t, r) == before })
	}
	checkAll(t, atOnce(t, r, nil, "/opt/flipexec/flipexec", "reload"), 4,
		"reload: nothing that was started outside of systemd is running; hint: systemctl reload UNIT")
	unchanged()
	done := beginReload(t, r, "GOHTTP_HANG=1")
	checkAll(t, atOnce(t, r, asControlProcess(t, r), "/opt/flipexec/flipexec", "reload"), 3,
		"reload: another handoff is under way")
	kill(t, r, "KILL", "^flipexec-keeper 2")
	if err := <-done; err == nil {
		t.Error("the reload under way: got success, though its keeper was killed")
	}
	unchanged()
	load.stop(t)
}

// TestReloadsAtOnceOfOneScriptAreRefused but for the one that the script becomes:
// systemd listens to the process that it started.
func TestReloadsAtOnceOfOneScriptAreRefused(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	// A file each: of processes so short-lived the journal may not know the unit.
	script := fmt.Sprintf(`/bin/sh -c 'for i in $(seq %d); do (/opt/flipexec/flipexec reload 2>/run/said-$i; echo $? >/run/status-$i) & done; exec /opt/flipexec/flipexec reload'`, storm)
	install(t, r, strings.Replace(unitText(goServer), "ExecReload=/opt/flipexec/flipexec reload",
		"ExecReload="+strings.ReplaceAll(script, "$", "$$"), 1))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	load := startTraffic(t, r)
	must(t, r, "reload", "web")
	if got := checkAgreement(t, r); got == pid {
		t.Errorf("main process: still %d", pid)
	}
	awaitOneGeneration(t, r)
	load.stop(t)
	rig.WaitFor(t, "every reload of the script has ended", 20*time.Second, func() bool {
		return inRig(t, r, "cat /run/status-* | wc -l") == strconv.Itoa(storm)
	})
	if got, want := inRig(t, r, "cat /run/status-* | uniq -c"), fmt.Sprintf("%d 1", storm); got != want {
		t.Errorf("how many with which status: got %q, want %q", got, want)
	}
	said := inRig(t, r, "cat /run/said-*")
	if got := strings.Count(said+"\n", "; hint: call flipexec directly, or with exec from a shell\n"); got != storm {
		t.Errorf("got the hint %d times, want %d:\n%s", got, storm, said)
	}
	if got := generation(t, r); got != 2 {
		t.Errorf("generation: got %d, want 2", got)
	}
}

// TestReloadDuringTheStartDoesNotDisturbIt: by hand it is refused, and systemd takes
// the start for the reload, or reloads once that is done.
func TestReloadDuringTheStartDoesNotDisturbIt(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer, "Environment=GOHTTP_START_DELAY=3s"))
	start, reload := make(chan error, 1), make(chan error, 1)
	systemctl := func(verb string, done chan<- error) {
		_, err := r.Systemctl(verb, "web")
		done <- err
	}
	go systemctl("start", start)
	rig.WaitFor(t, "the first server runs", 20*time.Second, func() bool {
		return strings.Contains(r.Journal("web.service"), "generation 1 starting")
	})
	checkByHand(t, r, asControlProcess(t, r), 3, "reload: generation 1 is still starting")
	go systemctl("reload", reload)
	if err := <-start; err != nil {
		t.Errorf("systemctl start: %v", err)
	}
	if err := <-reload; err != nil {
		t.Errorf("systemctl reload: %v", err)
	}
	checkAgreement(t, r)
	awaitOneGeneration(t, r)
	before := generation(t, r)
	must(t, r, "reload", "web")
	checkAgreement(t, r)
	if got := generation(t, r); got != before+1 {
		t.Errorf("generation: got %d, want %d", got, before+1)
	}
}

// TestGenerationsDrainSideBySide: each finishes what it has accepted, and is gone
// when that is done, whatever the others do.
func TestGenerationsDrainSideBySide(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	load := startTraffic(t, r)
	var slow []*slowRequest
	for i, ms := range []int{8000, 4000, 6000} { // the second has finished first
		s := &slowRequest{pid: checkAgreement(t, r), takes: time.Duration(ms) * time.Millisecond}
		s.send(t, r)
		slow = append(slow, s)
		must(t, r, "reload", "web")
		if got := keepers(t, r); got != i+2 {
			t.Errorf("reload %d: got %d keepers, want %d: every generation is there", i+1, got, i+2)
		}
	}
	main := checkAgreement(t, r)
	if got := generation(t, r); got != 4 {
		t.Errorf("generation: got %d, want 4", got)
	}
	for _, i := range []int{1, 2, 0} { // as they finish
		slow[i].checkAnswer(t)
		rig.WaitFor(t, fmt.Sprintf("generation %d is gone", i+1), 5*time.Second, func() bool {
			return !strings.Contains(strings.Join(processes(t, r), "\n"), fmt.Sprintf("flipexec-keeper %d ", i+1))
		})
	}
	if got := keepers(t, r); got != 1 {
		t.Errorf("keepers: got %d, want 1", got)
	}
	if got := checkAgreement(t, r); got != main {
		t.Errorf("main process: got %d, want %d", got, main)
	}
	load.stop(t)
}

// A slowRequest is one that its server is still at when it is told to stop.
type slowRequest struct {
	net.Conn
	pid   int // who must answer
	takes time.Duration
	sent  time.Time
}

// send returns once a server has read the request.
func (s *slowRequest) send(t *testing.T, r *rig.Rig) {
	t.Helper()
	var err error
	if s.Conn, err = r.Dial(t.Context(), "tcp", "127.0.0.1:80"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.sent = time.Now()
	_, err = fmt.Fprintf(s, "GET /slow?ms=%d HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", s.takes.Milliseconds())
	if err != nil {
		t.Fatal(err)
	}
	rig.WaitFor(t, "a server has read the request", 10*time.Second, func() bool { return unread(t, r) == 0 })
}

// checkAnswer waits for all of it.
func (s *slowRequest) checkAnswer(t *testing.T) {
	t.Helper()
	answer, err := io.ReadAll(s)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") || !strings.Contains(string(answer), fmt.Sprintf("pid=%d ", s.pid)) {
		t.Errorf("got %q, %v, want 200 of process %d", answer, err, s.pid)
	}
	if took := time.Since(s.sent); took < s.takes {
		t.Errorf("answer after %v, want it after %v", took, s.takes)
	}
}
