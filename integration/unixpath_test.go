//go:build linux

package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/load"
	"github.com/flipexec/flipexec/integration/rig"
)

// appSocket is the unix socket of the units here, alone in its directory.
const appSocket = "/run/app/app.sock"

// unixUnit is a unit with appSocket.
func unixUnit(more ...string) string {
	return strings.Replace(unitText(goServer, more...), "--listen http=tcp::80", "--listen http=tcp::80 --listen app=unix:"+appSocket+"?directorymode=0755", 1)
}

// appFiles are the files beside appSocket, with it.
func appFiles(t *testing.T, r *rig.Rig) string {
	t.Helper()
	return strings.Join(strings.Fields(inRig(t, r, "ls -A "+strings.TrimSuffix(appSocket, "/app.sock"))), " ")
}

// awaitNoSpare waits until the drain is over and the spare name has gone.
func awaitNoSpare(t *testing.T, r *rig.Rig) {
	t.Helper()
	awaitOneGeneration(t, r)
	rig.WaitFor(t, "there is no spare name", 20*time.Second, func() bool { return appFiles(t, r) == "app.sock" })
}

// appFile is the device and the inode of appSocket.
func appFile(t *testing.T, r *rig.Rig) string {
	t.Helper()
	return inRig(t, r, "stat -c '%d %i' "+appSocket)
}

// A retrier dials as a client that tries once more after a moment if a path is not there.
type retrier struct {
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	missing atomic.Int64 // the path was not there at first
	waiting atomic.Int64 // for the second try
}

const retryAfter = time.Second

func (r *retrier) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := r.dial(ctx, network, addr)
	if !errors.Is(err, syscall.ENOENT) {
		return c, err
	}
	r.missing.Add(1)
	r.waiting.Add(1)
	defer r.waiting.Add(-1)
	<-time.After(retryAfter) // the moment, of which nothing tells the end
	return r.dial(ctx, network, addr)
}

// TestServerThatUnlinksItsPathLeavesItToItsSuccessor: when it is told to stop, or as the
// last thing that it does. Clients that try twice notice nothing.
func TestServerThatUnlinksItsPathLeavesItToItsSuccessor(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"stop", "exit"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			const reloads = 10
			r := boot(t, "host")
			install(t, r, unixUnit("Environment=GOHTTP_UNLINK="+when, "Environment=GOHTTP_QUIET_TIME=10s"))
			must(t, r, "start", "web")
			file, client := appFile(t, r), &retrier{dial: r.Dial}
			traffic := startLoad(t, load.Config{Dial: client.Dial, Network: "unix", Addr: appSocket, Rate: 400, Timeout: 10 * time.Second})
			for range reloads {
				must(t, r, "reload", "web")
				awaitNoSpare(t, r)
				// Or it could be the next reload that the second try meets.
				rig.WaitFor(t, "every client has tried again", 5*time.Second, func() bool { return client.waiting.Load() == 0 })
				if got := appFile(t, r); got != file {
					t.Errorf("device and inode: got %s, want %s", got, file)
				}
				checkAnswersAtPath(t, r)
			}
			report := traffic.Stop()
			if report.Failures() > 0 || report.OK == 0 {
				t.Error(report)
			}
			t.Logf("%d requests, of which %d did not find the path at first", report.Sent, client.missing.Load())
			if got := strings.Count(r.Journal("web.service"), appSocket+" was unlinked, and is back\n"); got != reloads {
				t.Errorf("journal: got %d lines of paths that are back, want %d", got, reloads)
			}
			checkNothingWatched(t, r)
			must(t, r, "stop", "web")
			if got := appFiles(t, r); got != "" {
				t.Errorf("left after the stop: %s", got)
			}
		})
	}
}

// checkAnswersAtPath wants the main process to answer at appSocket.
func checkAnswersAtPath(t *testing.T, r *rig.Rig) {
	t.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return r.Dial(ctx, "unix", appSocket) }
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get("http://web/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got, want := resp.Header.Get("X-Pid"), fmt.Sprint(mainPID(t, r)); got != want {
		t.Errorf("process %s answers at the path, want %s", got, want)
	}
}

// checkNothingWatched wants a keeper without inotify instance.
func checkNothingWatched(t *testing.T, r *rig.Rig) {
	t.Helper()
	pid := keeperPID(t, r)
	for _, fd := range listProc(t, r, pid, "fd") {
		link, err := os.Readlink(r.Path(fmt.Sprintf("/proc/%d/fd/%s", pid, fd)))
		if err != nil || strings.Contains(link, "inotify") {
			t.Errorf("descriptor %s of the keeper: %s, %v", fd, link, err)
		}
	}
}

// TestFailedServerThatUnlinksLeavesThePathToTheRunningOne: invariant I2.
func TestFailedServerThatUnlinksLeavesThePathToTheRunningOne(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, strings.Replace(unixUnit("Environment=GOHTTP_UNLINK=stop"), "--pid-file", "--probation=20s --pid-file", 1))
	must(t, r, "start", "web")
	pid, file := checkAgreement(t, r), appFile(t, r)
	done := make(chan error, 1)
	go func() {
		_, err := r.Systemctl("reload", "web")
		done <- err
	}()
	rig.WaitFor(t, "generation 2 is on probation", 10*time.Second, func() bool {
		return strings.Contains(show(r, "StatusText"), "generation 2 is on probation")
	})
	inRig(t, r, "NOTIFY_SOCKET=/run/web/flipexec-notify-2 systemd-notify --no-block --pid=$(pgrep --newest gohttp) STOPPING=1")
	if err := <-done; err == nil {
		t.Error("systemctl reload: got success")
	}
	awaitNoSpare(t, r)
	checkLines(t, r, "generation 1 "+appSocket+" was unlinked, and is back", 1)
	if got := appFile(t, r); got != file {
		t.Errorf("device and inode: got %s, want %s", got, file)
	}
	if got := checkAgreement(t, r); got != pid {
		t.Errorf("main process: got %d, want %d", got, pid)
	}
	checkNothingWatched(t, r)
}

// TestPathThatSomebodyElseBoundIsLeftToHim: an old server unlinks the path and binds a
// socket of its own there, before the keeper has woken up.
func TestPathThatSomebodyElseBoundIsLeftToHim(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, strings.Replace(unixUnit(), "--pid-file", "--drain-timeout=10s --pid-file", 1))
	must(t, r, "start", "web")
	busy(t, r)
	must(t, r, "reload", "web")
	kill(t, r, "STOP", "^flipexec-keeper 2")
	if err := os.Remove(r.Path(appSocket)); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", r.Path(appSocket))
	if err != nil {
		t.Fatal(err)
	}
	file := appFile(t, r)
	kill(t, r, "CONT", "^flipexec-keeper 2")
	const complaint = "generation 2 put back " + appSocket + ": another file is there by now, and stays"
	rig.WaitFor(t, "the keeper says so", 10*time.Second, func() bool { return strings.Contains(r.Journal("web.service"), complaint) })
	awaitNoSpare(t, r)
	checkLines(t, r, complaint, 1)
	if got := appFile(t, r); got != file {
		t.Errorf("device and inode: got %s, want %s as bound by somebody else", got, file)
	}
	must(t, r, "stop", "web")
	if got := appFiles(t, r); got != "app.sock" {
		t.Errorf("after the stop: got %q, want the socket of somebody else", got)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// TestPathThatIsDroppedIsNotPutBack: by none of the keepers that have guarded it. One
// generation drains, the next one is replaced, and its server has the socket still.
func TestPathThatIsDroppedIsNotPutBack(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unixUnit())
	must(t, r, "start", "web")
	busy(t, r)
	must(t, r, "reload", "web")
	busy(t, r)
	install(t, r, strings.Replace(unixUnit(), "flipexec reload", "flipexec reload --listen http=tcp::80", 1))
	must(t, r, "reload", "web")
	checkAgreement(t, r)
	if got, want := keepers(t, r), 3; got != want {
		t.Errorf("keepers: got %d, want %d", got, want)
	}
	if got := appFiles(t, r); got != "" {
		t.Errorf("left of the dropped socket: %s", got)
	}
	if j := r.Journal("web.service"); strings.Contains(j, appSocket) {
		t.Errorf("journal: want nothing of %s in:\n%s", appSocket, j)
	}
}

// TestSpareOfAKilledKeeperGoesAtTheNextReload: it is all that such a keeper leaves.
func TestSpareOfAKilledKeeperGoesAtTheNextReload(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unixUnit("Environment=GOHTTP_UNLINK=stop", "TimeoutStopSec=1s"))
	must(t, r, "start", "web")
	spare := ".app.sock.flipexec-" + strings.Fields(appFile(t, r))[1]
	busy(t, r)
	must(t, r, "reload", "web")
	rig.WaitFor(t, "the path is back", 10*time.Second, func() bool { return strings.Contains(r.Journal("web.service"), "is back") })
	kill(t, r, "KILL", "^flipexec-keeper 2")
	must(t, r, "restart", "web")
	if got, want := appFiles(t, r), spare+" app.sock"; got != want {
		t.Errorf("after the restart: got %q, want %q", got, want)
	}
	must(t, r, "reload", "web")
	awaitNoSpare(t, r)
	must(t, r, "stop", "web")
	if got := appFiles(t, r); got != "" {
		t.Errorf("left after the stop: %s", got)
	}
}

// TestStopInADrainLeavesNoFile: both servers unlink the path, and the keeper puts it
// back, until its own server has left.
func TestStopInADrainLeavesNoFile(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unixUnit("Environment=GOHTTP_UNLINK=stop", "TimeoutStopSec=5s"))
	must(t, r, "start", "web")
	busy(t, r)
	must(t, r, "reload", "web")
	if _, err := r.Systemctl("stop", "web"); err != nil {
		t.Error(err)
	}
	if got := appFiles(t, r); got != "" {
		t.Errorf("left after the stop: %s", got)
	}
}

// TestKeeperThatMayNotWriteSaysSo: one line, and the reload goes on.
func TestKeeperThatMayNotWriteSaysSo(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	inRig(t, r, "install -d -o rig /run/app")
	install(t, r, unixUnit("User=rig", "AmbientCapabilities=CAP_NET_BIND_SERVICE"))
	must(t, r, "start", "web")
	inRig(t, r, "chown root /run/app")
	must(t, r, "reload", "web")
	checkAgreement(t, r)
	awaitNoSpare(t, r)
	checkLines(t, r, "generation 2 spare name for "+appSocket+": permission denied; hint: the directory must be writable; a path that the old server unlinks is not put back at once", 1)
	inRig(t, r, "chown rig /run/app")
	must(t, r, "stop", "web")
	if got := appFiles(t, r); got != "" {
		t.Errorf("left after the stop: %s", got)
	}
}
