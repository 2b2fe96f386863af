//go:build linux

package integration

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
	"golang.org/x/sys/unix"
)

// beginReload starts a reload with this in the environment of the new server, and
// returns once that runs. done gives the outcome of systemctl reload.
func beginReload(t *testing.T, r *rig.Rig, environment string) (done chan error) {
	t.Helper()
	install(t, r, unitText(goServer, "Environment="+environment))
	done = make(chan error, 1)
	go func() {
		_, err := r.Systemctl("reload", "web")
		done <- err
	}()
	rig.WaitFor(t, "the new server runs", 20*time.Second, func() bool {
		return strings.Contains(r.Journal("web.service"), "generation 2 starting")
	})
	return done
}

// kill sends a signal to the process whose command line matches the pattern.
func kill(t *testing.T, r *rig.Rig, signal, pattern string) {
	t.Helper()
	inRig(t, r, fmt.Sprintf("pkill -%s -f -- '%s'", signal, pattern))
}

// TestServerThatDiesAtItsReadinessIsNotFollowed: the new server says READY=1 and is
// dead before anybody has looked. systemd must be left with the previous one.
func TestServerThatDiesAtItsReadinessIsNotFollowed(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	before := world(t, r)
	load := startTraffic(t, r)
	done := beginReload(t, r, "GOHTTP_START_DELAY=1s GOHTTP_DIE=1")
	kill(t, r, "STOP", "^flipexec-keeper 2")
	rig.WaitFor(t, "the new server is gone", 10*time.Second, func() bool {
		return inRig(t, r, "pgrep -c -f ^"+goServer+"; true") == "1"
	})
	kill(t, r, "CONT", "^flipexec-keeper 2")
	if err := <-done; err == nil {
		t.Error("systemctl reload: got success")
	}
	load.stop(t)
	if j, want := r.Journal("web.service"), "generation 2: server exited with status 4 as soon as it was ready"; !strings.Contains(j, want) {
		t.Errorf("journal: want %q in:\n%s", want, j)
	}
	if got := checkAgreement(t, r); got != pid {
		t.Errorf("main process: got %d, want %d", got, pid)
	}
	if after := world(t, r); after != before {
		t.Errorf("got  %s\nwant %s", after, before)
	}
}

// TestNotifySocketBelievesOnlyItsGeneration: invariant I9. Another user, root outside
// of the unit, and another unit, which know the path and pretend to have been started
// with it, are not heard.
func TestNotifySocketBelievesOnlyItsGeneration(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	done := beginReload(t, r, "GOHTTP_HANG=1 FLIPEXEC_READY_TIMEOUT=3s")
	const lies = "systemd-notify --ready; systemd-notify MAINPID=$$ READY=1; systemd-notify STOPPING=1"
	if out, err := r.RunAs("rig", 1000, "env", "NOTIFY_SOCKET="+notifyPath, "sh", "-c", lies); err != nil {
		t.Fatal(err, out)
	}
	inRig(t, r, "export NOTIFY_SOCKET="+notifyPath+"; "+lies)
	inRig(t, r, "systemd-run --quiet --wait -p User=daemon -p NotifyAccess=none -E NOTIFY_SOCKET="+notifyPath+" sh -c '"+lies+"'")
	if err := <-done; err == nil {
		t.Error("systemctl reload: got success")
	}
	checkLines(t, r, "generation 2: not ready after 3s", 1)
	for _, uid := range []string{"uid 1000", "uid 0", "uid 1"} { // one line for all that it said
		checkLines(t, r, uid+", which is not of this generation", 1)
	}
	if got := checkAgreement(t, r); got != pid {
		t.Errorf("main process: got %d, want %d", got, pid)
	}
}

// TestReloadWithoutKeeperSaysSo: the server of a dead keeper serves on, and the
// next reload says what is the matter.
func TestReloadWithoutKeeperSaysSo(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"control socket at a path": unitText(goServer),
		"at an abstract name":      strings.NewReplacer("RuntimeDirectory=web\n", "", " --pid-file=/run/web/web.pid", "").Replace(unitText(goServer)),
	} {
		t.Run(name, func(t *testing.T) {
			r := boot(t, "host")
			install(t, r, text)
			must(t, r, "start", "web")
			pid := answering(t, r)
			kill(t, r, "KILL", "^flipexec-keeper 1")
			if _, err := r.Systemctl("reload", "web"); err == nil {
				t.Error("systemctl reload: got success")
			}
			checkReloadStatus(t, r, "web", 4)
			if j, want := r.Journal("web.service"), "the keeper of the running generation is gone"; !strings.Contains(j, want) {
				t.Errorf("journal: want %q in:\n%s", want, j)
			}
			if got := answering(t, r); got != pid || mainPID(t, r) != pid {
				t.Errorf("process %d answers, main process %d, want %d", got, mainPID(t, r), pid)
			}
		})
	}
}

// TestRequestsOfAFailedGenerationAreAnswered: a new server that is ready has accepted
// connections. When its keeper dies or hangs, it gets the time to answer them.
func TestRequestsOfAFailedGenerationAreAnswered(t *testing.T) {
	t.Parallel()
	r := bootFaults(t, t)
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGSTOP} {
		r.begin(t)
		if err := os.WriteFile(r.Path(faultFiles+"/ready seen"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := r.Systemctl("reload", "web")
			done <- err
		}()
		keeper, old := r.awaitStep(t, "ready seen"), r.members(t)["server"][0].host
		signalHost(t, old, unix.SIGSTOP) // so that the new server accepts all of them
		rig.WaitFor(t, "the old server has stopped", 10*time.Second, func() bool { return stopped(old) })
		answers := make(chan string, 40)
		for range cap(answers) {
			go func() { answers <- askSlowly(t, r) }()
		}
		rig.WaitFor(t, "all have sent their requests", 10*time.Second, func() bool {
			return inRig(t, r.Rig, `awk '$4 == "01" && $2 ~ /:0050$/' /proc/net/tcp /proc/net/tcp6 | wc -l`) == fmt.Sprint(cap(answers))
		})
		awaitRead(t, r.Rig)
		signalHost(t, old, unix.SIGCONT)
		signalHost(t, keeper, sig)
		if err := <-done; err == nil {
			t.Error("systemctl reload: got success")
		}
		by := map[string]int{}
		for range cap(answers) {
			by[<-answers]++
		}
		if by["2"] != cap(answers) {
			t.Errorf("%v: answered by generations %v, want all by 2", sig, by)
		}
		r.settle(t)
	}
}

// askSlowly is the generation that answers a slow request, or why there is none.
func askSlowly(t *testing.T, r *faultRig) string {
	client := http.Client{Transport: &http.Transport{DialContext: r.Dial, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := client.Get("http://127.0.0.1:80/slow?ms=900")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	return resp.Header.Get("X-Generation")
}
