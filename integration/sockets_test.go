//go:build linux

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/load"
	"github.com/flipexec/flipexec/integration/rig"
)

// TestUnixSocketStaysAtItsPath: the same file is there through every handoff, and
// is gone after the stop: invariant I8.
func TestUnixSocketStaysAtItsPath(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, strings.Replace(unitText(goServer), "--listen http=tcp::80", "--listen http=tcp::80 --listen app=unix:/run/app.sock", 1))
	must(t, r, "start", "web")
	file := inRig(t, r, "stat -c '%d %i %a' /run/app.sock")
	traffic := startLoad(t, load.Config{Dial: r.Dial, Network: "unix", Addr: "/run/app.sock", Rate: 200, Timeout: 10 * time.Second})
	for range 5 {
		must(t, r, "reload", "web")
		checkAgreement(t, r)
		if got := inRig(t, r, "stat -c '%d %i %a' /run/app.sock"); got != file {
			t.Errorf("device, inode and mode: got %s, want %s", got, file)
		}
	}
	if report := traffic.Stop(); report.Failures() > 0 || report.OK == 0 {
		t.Error(report)
	}
	awaitOneGeneration(t, r)
	must(t, r, "stop", "web")
	inRig(t, r, "! test -e /run/app.sock")
}

// TestSocketUnitIsPassedOn: systemd's own sockets go through every handoff, and
// outlive the service.
func TestSocketUnitIsPassedOn(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	if err := r.WriteUnit("web.socket", "[Socket]\nListenStream=80\nListenStream=/run/app.sock\nFileDescriptorName=http\nBacklog=4096\n[Install]\nWantedBy=sockets.target\n"); err != nil {
		t.Fatal(err)
	}
	install(t, r, strings.Replace(unitText(goServer), "--listen http=tcp::80 ", "", 1))
	must(t, r, "enable", "--quiet", "--now", "web.socket")
	traffic := startTraffic(t, r) // which starts the service
	must(t, r, "start", "web")    // joins that start
	for range 5 {
		checkAgreement(t, r)
		must(t, r, "reload", "web")
		if got, _ := get(t, r, "/env?name=LISTEN_FDNAMES"); got != "http:http" {
			t.Errorf("LISTEN_FDNAMES: got %q, want http:http", got)
		}
	}
	checkAgreement(t, r)
	must(t, r, "restart", "web") // connections wait for it in the sockets' queues
	checkAgreement(t, r)
	traffic.stop(t)
	must(t, r, "stop", "web")
	inRig(t, r, "test -S /run/app.sock")
}

// TestUnitWithoutRuntimeDirectory: the control socket has an abstract name, and the
// notify sockets lie in a directory of their own, which goes with its generation.
func TestUnitWithoutRuntimeDirectory(t *testing.T) {
	t.Parallel()
	for _, private := range []string{"PrivateTmp=no", "PrivateTmp=yes"} {
		t.Run(private, func(t *testing.T) {
			r := boot(t, "host")
			text := strings.NewReplacer("RuntimeDirectory=web\n", "", " --pid-file=/run/web/web.pid", "").Replace(unitText(goServer, private))
			install(t, r, text)
			must(t, r, "start", "web")
			for range 2 {
				must(t, r, "reload", "web")
				awaitOneGeneration(t, r)
			}
			if got, want := answering(t, r), mainPID(t, r); got != want {
				t.Errorf("process %d answers, want main process %d", got, want)
			}
			if private == "PrivateTmp=no" {
				if got := inRig(t, r, "ls /tmp | wc -l"); got != "1" {
					t.Errorf("directories in /tmp: got %s, want 1", got)
				}
			}
			must(t, r, "stop", "web")
			// systemd removes its private directory in the background (exec_runtime_free, src/core/execute.c).
			rig.WaitFor(t, "nothing is left in /tmp", 5*time.Second, func() bool { return inRig(t, r, "ls /tmp") == "" })
		})
	}
}

// TestSignalToEveryProcessSparesTheKeeper: systemctl kill means the server.
func TestSignalToEveryProcessSparesTheKeeper(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	must(t, r, "kill", "--signal=USR1", "web")
	inRig(t, r, "pkill -TERM -f ^flipexec-keeper; pkill -HUP -f ^flipexec-keeper; pkill -QUIT -f ^flipexec-keeper")
	must(t, r, "reload", "web")
	if got := checkAgreement(t, r); got == pid {
		t.Errorf("main process: still %d", pid)
	}
}

// TestReloadChangesCommandAndOptions: what the line of a reload says holds from
// then on, and what it does not say stays.
func TestReloadChangesCommandAndOptions(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	text := unitText(goServer)
	install(t, r, text)
	must(t, r, "start", "web")
	install(t, r, strings.Replace(text, "flipexec reload", "flipexec reload --drain-timeout=7s --listen=http=tcp::80 --listen=more=tcp::81 -- /usr/bin/env COLOUR=blue "+goServer, 1))
	must(t, r, "reload", "web")
	checkAgreement(t, r)
	if got, _ := get(t, r, "/env?name=LISTEN_FDNAMES"); got != "http:more" {
		t.Errorf("LISTEN_FDNAMES: got %q, want http:more", got)
	}
	install(t, r, text)
	must(t, r, "reload", "web")
	checkAgreement(t, r)
	if got, _ := get(t, r, "/env?name=COLOUR"); got != "blue" {
		t.Errorf("COLOUR: got %q, the command did not stay", got)
	}
	awaitOneGeneration(t, r)
	if j, want := r.Journal("web.service"), "generation 2 draining"; !strings.Contains(j, want) || !strings.Contains(j, "timeout=7s") {
		t.Errorf("journal: want %q with timeout=7s in:\n%s", want, j)
	}
	install(t, r, strings.Replace(text, "flipexec reload", "flipexec reload --listen=http=tcp::80", 1))
	must(t, r, "reload", "web")
	checkAgreement(t, r)
	awaitOneGeneration(t, r)
	if c, err := r.Dial(t.Context(), "tcp", "127.0.0.1:81"); err == nil {
		c.Close()
		t.Error("port 81 is no longer declared and still accepts")
	}
	if got := fmt.Sprint(pidFile(t, r)); got != fmt.Sprint(mainPID(t, r)) {
		t.Errorf("PID file: got %s", got)
	}
}
