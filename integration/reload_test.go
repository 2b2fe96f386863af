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

// servers take their sockets, say that they are ready and stop each in their own
// way; none of them knows flipexec.
var servers = []struct{ name, command, lines string }{
	{"go", goServer, ""},
	{"package graceful", "/opt/flipexec/graceful", "WatchdogSec=5"},
	// Its documentation wants KillMode=mixed: when its workers are told to stop
	// at the same time, it can hang in its log ("reentrant call").
	{"gunicorn", "/usr/bin/gunicorn --preload -w 2 --chdir /opt/servers/wsgi app:app", "KillMode=mixed"},
	{"node", "/usr/bin/node /opt/servers/node/server.js", ""},
}

// reloads is how many handoffs each server goes through.
const reloads = 20

// TestReloadKeepsEveryConnection: invariants I1, I3 and I4, at every one of many
// handoffs under load.
func TestReloadKeepsEveryConnection(t *testing.T) {
	t.Parallel()
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			r := boot(t, "host")
			install(t, r, unitText(s.command, s.lines))
			must(t, r, "start", "web")
			pid := checkAgreement(t, r)
			traffic := startTraffic(t, r)
			for i := range reloads {
				traffic.mark(fmt.Sprintf("reload %d", i+1))
				must(t, r, "reload", "web")
				traffic.endMark()
				next := checkAgreement(t, r)
				if next == pid {
					t.Fatalf("reload %d: main process %d is the old one", i+1, pid)
				}
				pid = next
				checkStatus(t, r, i+2)
				awaitOneGeneration(t, r)
			}
			traffic.stop(t)
			must(t, r, "stop", "web")
			if got := show(r, "Result"); got != "success" {
				t.Errorf("Result: got %q, want success", got)
			}
			if left := processes(t, r); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// checkStatus finds the generation where an administrator looks.
func checkStatus(t *testing.T, r *rig.Rig, generation int) {
	t.Helper()
	out, err := r.Systemctl("status", "web")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("generation %d", generation); !strings.Contains(out, `Status: "`+want+":") {
		t.Errorf("systemctl status: want %q in:\n%s", want, out)
	}
}

// traffic is both kinds of load at once: a new connection for each request, and
// kept ones.
type traffic struct{ fresh, kept *load.Generator }

func startTraffic(t testing.TB, r *rig.Rig) traffic {
	cfg := load.Config{Dial: r.Dial, Network: "tcp", Addr: "127.0.0.1:80", Rate: 200, Timeout: 10 * time.Second}
	fresh := startLoad(t, cfg)
	cfg.Rate, cfg.Conns = 100, 8
	return traffic{fresh, startLoad(t, cfg)}
}

// startLoad is load.Start that ends before the rig does, also if the test fails.
func startLoad(t testing.TB, cfg load.Config) *load.Generator {
	g := load.Start(cfg)
	t.Cleanup(func() { g.Stop() })
	return g
}

func (l traffic) mark(name string) {
	l.fresh.Mark(name)
	l.kept.Mark(name)
}

func (l traffic) endMark() {
	l.fresh.EndMark()
	l.kept.EndMark()
}

// stop ends the load and fails the test if a request failed.
func (l traffic) stop(t testing.TB) {
	t.Helper()
	for kind, g := range map[string]*load.Generator{"new connections": l.fresh, "kept connections": l.kept} {
		report := g.Stop()
		if report.Failures() > 0 || report.OK == 0 {
			t.Errorf("%s: %v", kind, report)
		} else {
			t.Logf("%s: %d requests, none failed, %d processes answered", kind, report.OK, len(report.Answers))
		}
	}
}

// TestFailedReloadKeepsOldGeneration: invariant I2, for each way in which a new
// generation can fail before it is ready.
func TestFailedReloadKeepsOldGeneration(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, environment, reload, reason string
	}{
		{"exits", "GOHTTP_FAIL=3", "", "generation 2: server exited with status 3 before it was ready"},
		{"never ready", "GOHTTP_HANG=1 FLIPEXEC_READY_TIMEOUT=1s", "", "generation 2: not ready after 1s"},
		{"not found", "", "-- /nowhere/server", `command "/nowhere/server": not found`},
		{"cannot be executed", "", "-- /etc/passwd", `command "/etc/passwd": permission denied`},
		{"is no program", "", "-- /opt/servers/notaprogram", `command "/opt/servers/notaprogram": exec format error`},
		{"has no interpreter", "", "-- /opt/servers/nointerpreter", `command "/opt/servers/nointerpreter": the interpreter that it names is not found`},
		{"says that it stops", "", "-- /bin/sh -c 'systemd-notify STATUS=loading; systemd-notify STOPPING=1; sleep 60'", "server said STOPPING=1"},
		{"bad option", "FLIPEXEC_STOP_SIGNAL=BANG", "", `FLIPEXEC_STOP_SIGNAL="BANG": is no signal`},
		{"address in use", "", "--listen=http=tcp::80 --listen=x=tcp::81", "listen x=tcp::81: address already in use"},
	}
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	before := world(t, r)
	taken, err := r.Listen("tcp", ":81")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			install(t, r, strings.Replace(unitText(goServer, "Environment="+c.environment),
				"flipexec reload", "flipexec reload "+c.reload, 1))
			load := startTraffic(t, r)
			_, err := r.Systemctl("reload", "web")
			load.stop(t)
			if err == nil {
				t.Error("systemctl reload: got success")
			}
			if j := r.Journal("web.service"); !strings.Contains(j, c.reason) {
				t.Errorf("journal: want %q in:\n%s", c.reason, j)
			}
			if got := checkAgreement(t, r); got != pid {
				t.Errorf("main process: got %d, want %d", got, pid)
			}
			if after := world(t, r); after != before {
				t.Errorf("processes, files and descriptors:\ngot  %s\nwant %s", after, before)
			}
		})
	}
	install(t, r, unitText(goServer))
	must(t, r, "reload", "web")
	if got := checkAgreement(t, r); got == pid {
		t.Errorf("reload after all failures: main process is still %d", got)
	}
}

// world is what a failed reload must leave as it was: processes, what systemctl
// status says, the runtime directory, the keeper's descriptors and the state of the
// listening socket.
func world(t *testing.T, r *rig.Rig) string {
	t.Helper()
	return strings.Join(processes(t, r), "\n") + "\n" + show(r, "StatusText") + "\n" + inRig(t, r, `
		cd /run/web && ls -li --time-style=+ | awk '{print $1, $2, $NF}'
		keeper=$(pgrep -f ^flipexec-keeper)
		ls -l /proc/$keeper/fd | awk '{print $9, $10, $11}' | grep -v journal
		grep -h flags /proc/$keeper/fdinfo/*`)
}

func TestReloadAppliesTheEditedUnit(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	text := unitText(goServer, "EnvironmentFile=/etc/web.env", "LimitNOFILE=2000:3000", "WorkingDirectory=/run")
	writeFile(t, r, "/etc/web.env", "COLOUR=green\n")
	install(t, r, text)
	must(t, r, "start", "web")
	expect := func(path, want string) {
		t.Helper()
		checkAgreement(t, r)
		if got, _ := get(t, r, path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	expect("/env?name=COLOUR", "green")
	expect("/limits", "nofile 2000 3000\ncwd /run")

	writeFile(t, r, "/etc/web.env", "COLOUR=blue\n") // no daemon-reload
	must(t, r, "reload", "web")
	expect("/env?name=COLOUR", "blue")
	expect("/limits", "nofile 2000 3000\ncwd /run")

	install(t, r, strings.NewReplacer("2000:3000", "2500:3500", "=/run\n", "=/usr\n").Replace(text))
	must(t, r, "reload", "web")
	expect("/env?name=COLOUR", "blue")
	expect("/limits", "nofile 2500 3500\ncwd /usr")
}

// TestReloadTakesTheProgramOnDisk: a new server, and a new flipexec with it.
func TestReloadTakesTheProgramOnDisk(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	inRig(t, r, "mkdir /opt/disk && cp -r /opt/flipexec/* /opt/disk")
	install(t, r, strings.ReplaceAll(unitText(goServer), "/opt/flipexec", "/opt/disk"))
	must(t, r, "start", "web")
	inRig(t, r, "cp /opt/flipexec/gohttp /opt/disk/new && mv /opt/disk/new /opt/disk/gohttp && cp /opt/flipexec/flipexec /opt/disk/new && mv /opt/disk/new /opt/disk/flipexec")
	must(t, r, "reload", "web")
	main := checkAgreement(t, r)
	awaitOneGeneration(t, r)
	for _, p := range []string{fmt.Sprint(main), "$(pgrep -f ^flipexec-keeper)"} {
		if exe := inRig(t, r, "readlink /proc/"+p+"/exe"); strings.Contains(exe, "deleted") {
			t.Errorf("process %s runs %s", p, exe)
		}
	}
}
