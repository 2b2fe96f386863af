//go:build linux

package integration

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// managerReloads is how many handoffs there are under each manager.
const managerReloads = 10

// A managed is a server under a manager, in a rig of its own.
type managed struct {
	manager
	*rig.Rig
}

// check goes through all that MANAGERS.md has columns for.
func (m manager) check(t *testing.T) (c conduct) {
	w := managed{m, boot(t, m.suite)}
	t.Cleanup(func() {
		if t.Failed() {
			out, err := w.Run("sh", "-c", m.log)
			t.Logf("log (%v):\n%s\nprocesses: %q", err, out, w.ours(t))
		}
	})
	w.prepareRig(t)
	c.start = w.checkStart(t)
	traffic := startTraffic(t, w.Rig)
	c.reload = w.checkReloads(t)
	c.failure = w.checkFailure(t)
	traffic.stop(t)
	c.stop = w.checkStop(t)
	c.left = w.checkLeft(t)
	c.crash = w.checkCrashes(t)
	w.checkStop(t)
	w.checkLeft(t)
	return c
}

// prepareRig writes what stands in MANAGERS.md, and where it calls the programs.
func (w managed) prepareRig(t *testing.T) {
	t.Helper()
	writeFile(t, w.Rig, managersServer, managersServerText)
	writeFile(t, w.Rig, "/etc/web.conf", "")
	writeFile(t, w.Rig, "/etc/web.lines", w.lines)
	writeFile(t, w.Rig, "/run/exits", "")
	if strings.HasPrefix(w.name, "systemd") {
		if err := w.WriteUnit("web.service", fmt.Sprintf(unitAround, w.lines)); err != nil {
			t.Fatal(err)
		}
	}
	inRig(t, w.Rig, "ln -s /opt/flipexec/flipexec /usr/bin/flipexec; chmod +x "+managersServer+"\n"+w.prepare)
}

// must runs a shell command in the rig.
func (w managed) must(t *testing.T, command string) string {
	t.Helper()
	return inRig(t, w.Rig, command)
}

// begin starts the service, once the manager can be asked to, and waits for the first
// generation.
func (w managed) begin(t *testing.T) {
	t.Helper()
	rig.WaitFor(t, w.start, 20*time.Second, func() bool {
		_, err := w.Run("sh", "-c", w.start)
		return err == nil
	})
	w.awaitFirst(t)
}

// awaitFirst waits for the end of a start: a server that dies before that has failed to
// start, which is no crash.
func (w managed) awaitFirst(t *testing.T) {
	t.Helper()
	w.await(t, 1)
	w.awaitLauncher(t)
	if strings.HasPrefix(w.name, "systemd") { // which reads a PID file a moment later
		rig.WaitFor(t, "the unit is active", 20*time.Second, func() bool { return show(w.Rig, "ActiveState") == "active" })
	}
}

// await waits until a generation alone answers.
func (w managed) await(t *testing.T, generation int) (pid string) {
	t.Helper()
	rig.WaitFor(t, fmt.Sprintf("generation %d alone answers", generation), 20*time.Second, func() bool {
		for range 4 {
			_, header, err := tryGet(w.Rig, "/")
			if err != nil || header.Get("X-Generation") != strconv.Itoa(generation) {
				return false
			}
			pid = header.Get("X-Pid")
		}
		return true
	})
	return pid
}

func (w managed) checkStart(t *testing.T) string {
	t.Helper()
	w.begin(t)
	return "done"
}

// checkReloads: the traffic that goes on meanwhile finds no failure.
func (w managed) checkReloads(t *testing.T) string {
	t.Helper()
	pid := w.await(t, 1)
	for i := range managerReloads {
		w.must(t, w.reload)
		next := w.await(t, i+2)
		if next == pid {
			t.Fatalf("reload %d: process %s still answers", i+1, pid)
		}
		pid = next
	}
	return fmt.Sprintf("%d, 0 failed", managerReloads)
}

// checkFailure is a reload whose server fails: who asks for it learns that, and why,
// and nothing has changed.
func (w managed) checkFailure(t *testing.T) string {
	t.Helper()
	const generation = managerReloads + 1
	pid := w.await(t, generation)
	reason := fmt.Sprintf("generation %d: server exited with status 3 before it was ready", generation+1)
	writeFile(t, w.Rig, "/etc/web.conf", "export GOHTTP_FAIL=3\n")
	told := w.reloadTells(t, "reload: "+reason)
	if w.statusText {
		rig.WaitFor(t, "the status tells", 10*time.Second, func() bool {
			return strings.Contains(show(w.Rig, "StatusText"), "reload failed: "+reason)
		})
		told += ", status"
	}
	if w.ask != w.reload {
		w.awaitLauncher(t)
		out, err := w.Run("sh", "-c", w.ask+"; echo status $?")
		if err != nil || !strings.Contains(out, reason) || !strings.HasSuffix(strings.TrimSpace(out), "status 1") {
			t.Errorf("%s: got %q, %v; want status 1 and %q", w.ask, out, err, reason)
		}
		told += ", `flipexec reload`"
	}
	writeFile(t, w.Rig, "/etc/web.conf", "")
	w.awaitLauncher(t)
	if got := w.await(t, generation); got != pid {
		t.Errorf("process %s answers, want %s as before", got, pid)
	}
	return told
}

// reloadTells is where a reload by the manager's own word tells why it failed.
func (w managed) reloadTells(t *testing.T, reason string) string {
	t.Helper()
	w.awaitLauncher(t)
	before := strings.Count(w.must(t, w.log), reason)
	_, err := w.Run("sh", "-c", w.reload)
	if w.waits != (err != nil) {
		t.Errorf("%s: got %v, want an error: %v", w.reload, err, w.waits)
	}
	rig.WaitFor(t, "the log tells", 10*time.Second, func() bool { return strings.Count(w.must(t, w.log), reason) > before })
	if err == nil {
		return "log"
	}
	return "`" + w.reload + "`, log"
}

// checkStop asks for a stop while a request has a second to go.
func (w managed) checkStop(t *testing.T) string {
	t.Helper()
	before := len(w.ends(t))
	c := w.slowRequest(t)
	w.must(t, w.stop)
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
		t.Errorf("request during the stop: got %q, %v, want 200", answer, err)
	}
	status := w.awaitEnd(t, before)
	if status != "0" {
		t.Errorf("stop: the manager saw %s, want 0", status)
	}
	return "request answered, " + status
}

// slowRequest returns once the server has read it.
func (w managed) slowRequest(t *testing.T) net.Conn {
	t.Helper()
	c, err := w.Dial(t.Context(), "tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := fmt.Fprint(c, "GET /slow?ms=1000 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	rig.WaitFor(t, "the server has read the request", 10*time.Second, func() bool { return unread(t, w.Rig) == 0 })
	return c
}

// checkCrashes lets the server exit, and be killed: the manager learns of both, and
// the next start finds nothing in its way.
func (w managed) checkCrashes(t *testing.T) string {
	t.Helper()
	w.begin(t)
	var seen []string
	for _, crash := range []struct {
		do   func()
		want string
	}{
		{func() { tryGet(w.Rig, "/exit?status=7") }, "7"}, // without an answer
		{func() { w.must(t, "kill -KILL "+w.serverPID(t)) }, w.killed},
	} {
		before := len(w.ends(t))
		crash.do()
		status := w.awaitEnd(t, before)
		if status != crash.want {
			t.Errorf("crash: the manager saw %s, want %s", status, crash.want)
		}
		seen = append(seen, status)
		if !w.restarts {
			w.must(t, w.start)
		}
		w.awaitFirst(t)
	}
	return strings.Join(seen, ", ")
}

// checkLeft finds no process and no socket of ours.
func (w managed) checkLeft(t *testing.T) string {
	t.Helper()
	rig.WaitFor(t, "flipexec and the server have left", 10*time.Second, func() bool { return len(w.ours(t)) == 0 })
	var left []string
	for line := range strings.Lines(w.must(t, "cat /proc/net/unix")) {
		if strings.Contains(line, "flipexec") {
			left = append(left, line)
		}
	}
	for _, path := range []string{"/run/flipexec/web", "/run/web.pid"} {
		if _, err := os.Lstat(w.Path(path)); err == nil {
			left = append(left, path)
		}
	}
	if len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
	return "nothing"
}
