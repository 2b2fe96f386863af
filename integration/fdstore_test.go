//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/load"
	"github.com/flipexec/flipexec/integration/rig"
)

// storeSuites are systemd before and after it said in FDSTORE that it has a store (254),
// and the newest.
var storeSuites = []string{"host", "trixie", "forky"}

// storingUnit is a unit of that suite with a descriptor store and more sockets.
func storingUnit(suite, listen string, more ...string) string {
	text := unitText("/bin/sh /etc/listing", append([]string{"FileDescriptorStoreMax=8", "Restart=always", "RestartSec=0"}, more...)...)
	options := "--listen http=tcp::80 " + listen
	if suite == "host" {
		options = "--fdstore " + options
	}
	return strings.Replace(text, "--listen http=tcp::80", options, 1)
}

// listing is goServer, once it has told which sockets it was given, in their order.
const listing = `for fd in /proc/$$/fd/*; do echo ${fd##*/} $(readlink $fd); done | sort -n | sed '1,/^2 /d' | grep socket: >/run/sockets
exec ` + goServer + "\n"

// bootStoring starts a rig in which storingUnit works.
func bootStoring(t *testing.T, suite string) *rig.Rig {
	t.Helper()
	r := boot(t, suite)
	writeFile(t, r, "/etc/listing", listing)
	return r
}

// startAt is startTraffic at an address, without kept connections.
func startAt(t testing.TB, r *rig.Rig, network, address string) *load.Generator {
	return startLoad(t, load.Config{Dial: r.Dial, Network: network, Addr: address, Rate: 100, Timeout: 10 * time.Second})
}

// serverSockets are those of the server that started last, with their numbers.
func serverSockets(t testing.TB, r *rig.Rig) string {
	t.Helper()
	return inRig(t, r, "cat /run/sockets")
}

// storeNames are the names in the store of web.service, sorted, and without the numbers of
// ours. systemd shows it since version 254.
func storeNames(t testing.TB, r *rig.Rig) (names []string) {
	t.Helper()
	out, err := r.Run("systemd-analyze", "fdstore", "--json=short", "web.service")
	if err != nil {
		t.Fatal(err)
	}
	var entries []struct{ FDName string }
	if err := json.Unmarshal([]byte(out), &entries); err != nil && strings.TrimSpace(out) != "" {
		t.Fatalf("%q: %v", out, err)
	}
	for _, e := range entries {
		name := e.FDName
		if after, ok := strings.CutPrefix(name, "flipexec="); ok {
			_, name, _ = strings.Cut(after, "=")
			name = "flipexec=" + name
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func checkStore(t testing.TB, r *rig.Rig, when string, want ...string) {
	t.Helper()
	for i := range want {
		want[i] = "flipexec=" + want[i]
	}
	if got := storeNames(t, r); !slices.Equal(got, want) {
		t.Errorf("%s: the store has %q, want %q", when, got, want)
	}
}

// restarts is how often systemd has started the service again.
func restarts(t testing.TB, r *rig.Rig) int {
	t.Helper()
	n, err := strconv.Atoi(show(r, "NRestarts"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// crashes is how often everything dies at once.
const crashes = 50

// TestCrashRefusesNoConnection: main process, keeper and whoever else there is are killed
// under load, again and again. Who has been accepted is lost with the server, and nobody
// else: connections wait in the queue of a socket that systemd holds meanwhile.
func TestCrashRefusesNoConnection(t *testing.T) {
	t.Parallel()
	for _, suite := range storeSuites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := bootStoring(t, suite)
			install(t, r, storingUnit(suite, "--listen app=unix:/run/app.sock"))
			must(t, r, "start", "web")
			sockets := serverSockets(t, r)
			traffic, app := startTraffic(t, r), startAt(t, r, "unix", "/run/app.sock")
			begin := time.Now()
			for i := range crashes {
				before := restarts(t, r)
				must(t, r, "kill", "--signal=KILL", "web")
				// More than one: systemd 262 kills the whole cgroup, and that has
				// been seen to hit the process that it had just started there.
				rig.WaitFor(t, fmt.Sprintf("start after crash %d", i+1), 20*time.Second, func() bool {
					return restarts(t, r) > before && show(r, "SubState") == "running"
				})
			}
			t.Logf("%d crashes in %v", crashes, time.Since(begin).Round(time.Millisecond))
			awaitLauncher(t, r)
			checkAgreement(t, r)
			for kind, g := range map[string]*load.Generator{"new": traffic.fresh, "kept": traffic.kept, "unix": app} {
				checkCutOff(t, kind, g.Stop())
			}
			if got := serverSockets(t, r); got != sockets {
				t.Errorf("sockets: got %q, want %q as at first", got, sockets)
			}
		})
	}
}

// TestConnectionWaitsForAStartThatWorks: the starts before it fail, after a crash.
func TestConnectionWaitsForAStartThatWorks(t *testing.T) {
	t.Parallel()
	r := bootStoring(t, "host")
	writeFile(t, r, "/etc/web.env", "")
	install(t, r, storingUnit("host", "", "EnvironmentFile=/etc/web.env", "RestartSec=100ms"))
	must(t, r, "start", "web")
	writeFile(t, r, "/etc/web.env", "GOHTTP_FAIL=3\n")
	must(t, r, "kill", "--signal=KILL", "web")
	restarted := func(times string) func() bool { return func() bool { return show(r, "NRestarts") >= times } }
	rig.WaitFor(t, "the first start fails", 20*time.Second, restarted("2"))
	answer := make(chan error, 1)
	go func() {
		_, _, err := tryGet(r, "/")
		answer <- err
	}()
	rig.WaitFor(t, "more starts fail", 20*time.Second, restarted("5"))
	writeFile(t, r, "/etc/web.env", "")
	if err := <-answer; err != nil {
		t.Error(err)
	}
}

// TestErrorThatWaitsOnASocketIsNoEndOfIt: a server asks for errors, ip(7), and gets one,
// for which nobody calls; systemd would see it and forget the socket.
func TestErrorThatWaitsOnASocketIsNoEndOfIt(t *testing.T) {
	t.Parallel()
	r := bootStoring(t, "host")
	writeFile(t, r, "/etc/errors.py", `import os, socket, subprocess, time
s = socket.socket(fileno=3)
s.setsockopt(socket.SOL_IP, 11, 1)  # IP_RECVERR
open("/run/sockets", "w").write(os.readlink("/proc/self/fd/3"))
try:
    s.sendto(b"x", ("127.0.0.1", 9))
except ConnectionRefusedError:
    pass  # the error that the run before has left
subprocess.run(["systemd-notify", "--ready"], check=True)
while True:
    time.sleep(1000)
`)
	install(t, r, strings.NewReplacer("http=tcp::80", "dns=udp:127.0.0.1:53", "/bin/sh /etc/listing", "/usr/bin/python3 /etc/errors.py").Replace(storingUnit("host", "")))
	must(t, r, "start", "web")
	socket := serverSockets(t, r)
	for range 2 {
		must(t, r, "restart", "web")
		if got := serverSockets(t, r); got != socket {
			t.Errorf("socket: got %q, want %q as at first", got, socket)
		}
	}
}

// checkCutOff wants no failures but of requests that a server had when it was killed.
func checkCutOff(t *testing.T, kind string, r load.Report) {
	t.Helper()
	cut := r.Failed[load.Reset] + r.Failed[load.EOF] + r.Failed[load.Garbled]
	if r.Failures() > cut || r.OK == 0 {
		t.Errorf("%s connections: %v", kind, r)
		return
	}
	t.Logf("%s connections: %d requests, %d cut off, %d processes answered", kind, r.Sent, cut, len(r.Answers))
}

// TestRestartRefusesNoConnection, nor does a manager that is executed anew. What it gives
// back it gives in another order after each daemon-reload, and the server gets it in that
// of the specs, under its name; a port that the kernel chose stays.
func TestRestartRefusesNoConnection(t *testing.T) {
	t.Parallel()
	for _, suite := range storeSuites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := bootStoring(t, suite)
			install(t, r, storingUnit(suite, "--listen app=unix:/run/app.sock --listen any=tcp:127.0.0.1:0 --listen tcp:127.0.0.1:0"))
			must(t, r, "start", "web")
			sockets := serverSockets(t, r)
			traffic, app := startTraffic(t, r), startAt(t, r, "unix", "/run/app.sock")
			for _, command := range []string{
				"restart web", "daemon-reload", "restart web", "daemon-reexec", "restart web",
				"reload web", "daemon-reload", "restart web", "reload web", "reload web", "restart web",
			} {
				must(t, r, strings.Fields(command)...)
				checkAgreement(t, r)
				awaitLauncher(t, r)
				if got := serverSockets(t, r); got != sockets {
					t.Errorf("%s: sockets: got %q, want %q as at first", command, got, sockets)
				}
				if got, _ := get(t, r, "/env?name=LISTEN_FDNAMES"); got != "http:app:any:unknown" {
					t.Errorf("%s: LISTEN_FDNAMES: got %q", command, got)
				}
			}
			traffic.stop(t)
			if report := app.Stop(); report.Failures() > 0 || report.OK == 0 {
				t.Errorf("unix: %v", report)
			}
		})
	}
}

// TestStoreHasWhatIsDeclared: what a reload drops leaves it, also a socket whose path was
// lost, or that has another name; a reload that fails leaves it as it was.
func TestStoreHasWhatIsDeclared(t *testing.T) {
	t.Parallel()
	for _, suite := range storeSuites[1:] {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := bootStoring(t, suite)
			// Which need not say NotifyAccess=, and has FDSTORE in ExecReload= all the same.
			text := strings.Replace(storingUnit(suite, "--listen a=tcp::81"), "NotifyAccess=exec\n", "", 1)
			install(t, r, text)
			must(t, r, "start", "web")
			checkStore(t, r, "start", "a", "http")
			first := storeNumbers(t, r)
			for _, c := range []struct {
				options string
				fails   bool
				want    []string
			}{
				{"--listen http=tcp::80 --listen b=tcp::82 -- /bin/false", true, []string{"a", "http"}},
				{"--listen http=tcp::80 --listen http=tcp::82", true, []string{"a", "http"}},
				{"", false, []string{"a", "http"}},
				{"--listen http=tcp::80 --listen app=unix:/run/app.sock", false, []string{"app", "http"}},
				{"--listen web=tcp::80", false, []string{"web"}},
				{"--listen http=tcp::80 --fdstore=no", false, nil},
				{"--listen http=tcp::80 --listen app=unix:/run/app.sock --fdstore", false, []string{"app", "http"}},
				{"", false, []string{"app", "http"}},
			} {
				install(t, r, strings.Replace(text, "flipexec reload", "flipexec reload "+c.options, 1))
				if _, err := r.Systemctl("reload", "web"); (err != nil) != c.fails {
					t.Errorf("reload %s: got %v", c.options, err)
				}
				awaitLauncher(t, r)
				checkStore(t, r, "reload "+c.options, slices.Clone(c.want)...)
				if c.fails {
					if now := storeNumbers(t, r); now != first {
						t.Errorf("reload %s:\ngot  %s\nwant %s", c.options, now, first)
					}
				}
			}
			inRig(t, r, "rm /run/app.sock")
			before := storeNumbers(t, r)
			must(t, r, "reload", "web")
			checkStore(t, r, "a path that was lost", "app", "http")
			if after := storeNumbers(t, r); after == before {
				t.Errorf("the socket whose path was lost is still in the store: %s", after)
			}
			must(t, r, "stop", "web")
			checkStore(t, r, "stop")
		})
	}
}

// storeNumbers are the inodes of what is in the store.
func storeNumbers(t *testing.T, r *rig.Rig) string {
	t.Helper()
	return inRig(t, r, "systemd-analyze fdstore --json=short web.service | tr , '\\n' | grep -i inode | sort")
}

// TestRestartWithOtherSockets: what is no longer declared is not in the way, and nobody is
// left to wait in its queue; options are those of the new line.
func TestRestartWithOtherSockets(t *testing.T) {
	t.Parallel()
	for _, suite := range storeSuites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := bootStoring(t, suite)
			text := storingUnit(suite, "--listen a=tcp:127.0.0.1:81?backlog=100 --listen b=tcp::82 --listen c=tcp::83")
			install(t, r, text)
			must(t, r, "start", "web")
			install(t, r, strings.NewReplacer("a=tcp:127.0.0.1:81?backlog=100", "a=tcp::81", "b=tcp::82", "b=tcp::82?v6only=yes&backlog=200", " --listen c=tcp::83", "").Replace(text))
			must(t, r, "restart", "web")
			checkAgreement(t, r)
			if got, want := listeners(t, r), "::50 ::51 ::52"; got != want {
				t.Errorf("listeners: got %q, want %q", got, want)
			}
			if suite == "host" { // which has ss(8)
				if got, want := inRig(t, r, "ss -Hltn 'sport >= :81' | awk '{print $3, $4}' | sort"), "200 [::]:82\n4096 *:81"; got != want {
					t.Errorf("queues: got %q, want %q", got, want)
				}
			}
			text = strings.Replace(text, "--listen a", "--fdstore=no --listen a", 1)
			install(t, r, strings.Replace(text, "--fdstore --listen", "--listen", 1))
			must(t, r, "restart", "web")
			checkAgreement(t, r)
			if suite != "host" {
				checkStore(t, r, "--fdstore=no")
			}
			checkLines(t, r, "is not as declared, and dropped", 5)
			if got, want := listeners(t, r), "0100007F:51 ::50 ::52 ::53"; got != want {
				t.Errorf("listeners: got %q, want %q", got, want)
			}
		})
	}
}

// listeners are the addresses of listening TCP sockets, in hexadecimal digits, proc_net_tcp
// of the kernel's documentation.
func listeners(t *testing.T, r *rig.Rig) string {
	t.Helper()
	var all []string
	for line := range strings.Lines(inRig(t, r, "cat /proc/net/tcp /proc/net/tcp6")) {
		f := strings.Fields(line) // number, local address, remote address, state
		if f[3] == "0A" {
			all = append(all, strings.NewReplacer(strings.Repeat("0", 32), ":", ":00", ":").Replace(f[1]))
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// TestFullStore: one line says how much room there should be, where systemd tells how much
// there is, and the unit works.
func TestFullStore(t *testing.T) {
	t.Parallel()
	for _, suite := range storeSuites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := bootStoring(t, suite)
			install(t, r, strings.Replace(storingUnit(suite, "--listen a=tcp::81 --listen b=tcp::82"), "StoreMax=8", "StoreMax=2", 1))
			must(t, r, "start", "web")
			const want = "generation 1: FDSTORE=2 has no room for 1 of 3 sockets to outlive a crash; hint: FileDescriptorStoreMax=3"
			if suite == "host" {
				if j := r.Journal("web.service"); strings.Contains(j, "no room for") {
					t.Errorf("journal:\n%s", j)
				}
			} else {
				checkLines(t, r, want, 1)
				checkStore(t, r, "start", "a", "http")
			}
			sockets := strings.Split(serverSockets(t, r), "\n")
			must(t, r, "restart", "web")
			checkAgreement(t, r)
			now := strings.Split(serverSockets(t, r), "\n")
			if !slices.Equal(now[:2], sockets[:2]) || len(now) != 3 || now[2] == sockets[2] {
				t.Errorf("got sockets %q, want two as before of %q", now, sockets)
			}
			if suite == "host" {
				return
			}
			reload := "flipexec reload --listen http=tcp::80 --listen c=tcp::83" // one for another, with no room for both
			install(t, r, strings.NewReplacer("StoreMax=8", "StoreMax=2", "flipexec reload", reload).Replace(storingUnit(suite, "")))
			must(t, r, "reload", "web")
			awaitLauncher(t, r)
			checkStore(t, r, "reload", "c", "http")
		})
	}
}

// TestSocketUnitBesideTheStore: its sockets are systemd's, and stay out of the store.
func TestSocketUnitBesideTheStore(t *testing.T) {
	t.Parallel()
	for _, suite := range storeSuites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := bootStoring(t, suite)
			if err := r.WriteUnit("web.socket", "[Socket]\nListenStream=81\nListenStream=82\nFileDescriptorName=more\n"); err != nil {
				t.Fatal(err)
			}
			install(t, r, storingUnit(suite, "--listen app=unix:/run/app.sock", "Sockets=web.socket"))
			must(t, r, "start", "web.socket", "web")
			sockets := serverSockets(t, r)
			traffic := startTraffic(t, r)
			for _, command := range []string{"restart", "reload", "restart"} {
				must(t, r, command, "web")
				checkAgreement(t, r)
				if got := serverSockets(t, r); got != sockets {
					t.Errorf("%s: sockets: got %q, want %q as at first", command, got, sockets)
				}
				if got, _ := get(t, r, "/env?name=LISTEN_FDNAMES"); got != "http:app:more:more" {
					t.Errorf("%s: LISTEN_FDNAMES: got %q", command, got)
				}
			}
			traffic.stop(t)
			if suite != "host" {
				awaitLauncher(t, r)
				checkStore(t, r, "at the end", "app", "http")
			}
		})
	}
}

// TestPathStaysForTheNextRun: a client finds it at every instant of a restart. After a stop
// nobody listens there, and the next start replaces it; in a runtime directory that is
// kept over restarts alone it is gone.
func TestPathStaysForTheNextRun(t *testing.T) {
	t.Parallel()
	r := bootStoring(t, "host")
	install(t, r, storingUnit("host", "--listen app=unix:/run/app.sock --listen own=unix:/run/web/own.sock", "RuntimeDirectoryPreserve=restart"))
	must(t, r, "start", "web")
	inode := inRig(t, r, "stat -c %i /run/app.sock /run/web/own.sock")
	app, own := startAt(t, r, "unix", "/run/app.sock"), startAt(t, r, "unix", "/run/web/own.sock")
	for range 3 {
		must(t, r, "restart", "web")
		checkAgreement(t, r)
	}
	for _, g := range []*load.Generator{app, own} {
		if report := g.Stop(); report.Failures() > 0 || report.OK == 0 {
			t.Error(report)
		}
	}
	if got := inRig(t, r, "stat -c %i /run/app.sock /run/web/own.sock"); got != inode {
		t.Errorf("inodes: got %q, want %q", got, inode)
	}
	must(t, r, "stop", "web")
	inRig(t, r, "test -S /run/app.sock && ! test -e /run/web/own.sock")
	if c, err := r.Dial(t.Context(), "unix", "/run/app.sock"); err == nil {
		c.Close()
		t.Error("somebody listens after the stop")
	}
	must(t, r, "start", "web")
	if c, err := r.Dial(t.Context(), "unix", "/run/app.sock"); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}

// TestForegroundKeepsNoSockets: systemd would give them back to nobody who listens to it.
// What is in the store from before leaves it.
func TestForegroundKeepsNoSockets(t *testing.T) {
	t.Parallel()
	r := bootStoring(t, "trixie")
	text := storingUnit("trixie", "", "KillMode=mixed")
	install(t, r, text)
	must(t, r, "start", "web")
	awaitLauncher(t, r)
	checkStore(t, r, "start", "http")
	install(t, r, strings.Replace(text, "--listen", "--foreground --listen", 1))
	must(t, r, "restart", "web")
	awaitLauncher(t, r)
	checkStore(t, r, "in the foreground")
	if got, _ := get(t, r, "/env?name=FDSTORE"); got != "" {
		t.Errorf("FDSTORE: got %q", got)
	}
	out, err := r.Run("systemd-run", "--quiet", "--wait", "--pipe", "/opt/flipexec/flipexec", "--fdstore", "--listen", "x=tcp::81", "--", goServer)
	if want := "--fdstore: only systemd keeps sockets"; err == nil || !strings.Contains(out, want) {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}
