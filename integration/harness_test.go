//go:build linux

// Package integration runs the built flipexec under real systemd, with real
// servers behind it.
package integration

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// programs is the folder of the host with the programs under test; every rig has
// it at /opt/flipexec, and the servers' sources at /opt/servers.
var programs string

// rigs bounds the rigs that run at once. Most tests wait most of the time, so that
// there are more of them than processors.
const rigs = 9

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(rigs)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	rig.DefaultSignals()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "flipexec-programs-")
	if err == nil {
		defer os.RemoveAll(dir)
		programs = dir
		err = errors.Join(os.Chmod(dir, 0o755), build(dir)) // units run as other users
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build makes flipexec as the Makefile does, and the servers.
func build(dir string) error {
	make := exec.Command("make", "--silent", "-C", "..", "flipexec", "BINARY="+filepath.Join(dir, "flipexec"))
	faults := exec.Command("make", "--silent", "-C", "..", "flipexec", "TAGS=urfave_cli_no_docs,faults", "BINARY="+filepath.Join(dir, "faults", "flipexec"))
	servers := exec.Command("go", "build", "-o", dir, "./servers/gohttp", "./servers/graceful", "./servers/kinds", "./servers/storer", "./judges/gojudge")
	servers.Env = append(os.Environ(), "CGO_ENABLED=0") // no libc of this machine in older suites
	for _, cmd := range []*exec.Cmd{make, faults, servers} {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", cmd, err, out)
		}
	}
	return nil
}

// boot starts a rig of the suite ("host" for this machine's systemd) that sees the
// programs.
func boot(t testing.TB, suite string) *rig.Rig {
	t.Helper()
	return rig.New(t, rigConfig(t, suite))
}

func rigConfig(t testing.TB, suite string) rig.Config {
	t.Helper()
	servers, err := filepath.Abs("servers")
	if err != nil {
		t.Fatal(err)
	}
	return rig.Config{Root: suite, Bind: []string{programs + ":/opt/flipexec", servers + ":/opt/servers"}}
}

// goServer is a command for a unit: the careful Go server.
const goServer = "/opt/flipexec/gohttp"

// unitText is a service unit as the README has it, with more lines for [Service].
func unitText(command string, more ...string) string {
	return fmt.Sprintf(`[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=exec
ExecStart=/opt/flipexec/flipexec --listen http=tcp::80 --pid-file=/run/web/web.pid -- %s
ExecReload=/opt/flipexec/flipexec reload
RuntimeDirectory=web
Restart=on-failure
RestartSec=50ms
TimeoutStopSec=10s
%s
[Install]
WantedBy=multi-user.target
`, command, strings.Join(more, "\n"))
}

// install writes web.service and loads it. It is enabled, because systemd forgets
// what a unit did that nothing refers to.
func install(t testing.TB, r *rig.Rig, text string) {
	t.Helper()
	if err := r.WriteUnit("web.service", text); err != nil {
		t.Fatal(err)
	}
	must(t, r, "enable", "--quiet", "web") // and reloads the manager's configuration
}

// must runs systemctl and fails the test if that fails.
func must(t testing.TB, r *rig.Rig, args ...string) {
	t.Helper()
	if out, err := r.Systemctl(args...); err != nil {
		t.Fatalf("systemctl %s: %v\n%s\n%s", strings.Join(args, " "), err, out, r.Journal("web.service"))
	}
	if args[0] == "start" || args[0] == "restart" { // which is over for systemd before it is for the launcher
		awaitLauncher(t, r)
	}
}

// awaitLauncher waits until the launcher in web.service has left.
func awaitLauncher(t testing.TB, r *rig.Rig) {
	t.Helper()
	rig.WaitFor(t, "the launcher has left", 20*time.Second, func() bool {
		return !slices.ContainsFunc(processes(t, r), func(p string) bool {
			argv := strings.Fields(p)[1:]
			return len(argv) == 0 || filepath.Base(argv[0]) == "flipexec" // nothing: it is leaving
		})
	})
}

// show is one property of web.service.
func show(r *rig.Rig, property string) string { return r.Show("web.service", property)[property] }

// mainPID is the main process as systemd knows it, numbered as in the rig.
func mainPID(t testing.TB, r *rig.Rig) int {
	t.Helper()
	pid, err := strconv.Atoi(show(r, "MainPID"))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// get asks the server behind port 80 of the rig for a path, on a new connection.
func get(t testing.TB, r *rig.Rig, path string) (body string, header http.Header) {
	t.Helper()
	body, header, err := tryGet(r, path)
	if err != nil {
		t.Fatal(err)
	}
	return body, header
}

// tryGet is get of a server that may not be there.
func tryGet(r *rig.Rig, path string) (body string, header http.Header, err error) {
	client := http.Client{
		Transport: &http.Transport{DialContext: r.Dial, DisableKeepAlives: true},
		Timeout:   10 * time.Second,
	}
	resp, err := client.Get("http://127.0.0.1:80" + path)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", nil, errors.New(resp.Status)
	}
	b, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(b)), resp.Header, err
}

// answering is the process that answers a request.
func answering(t testing.TB, r *rig.Rig) int {
	t.Helper()
	_, header := get(t, r, "/")
	pid, err := strconv.Atoi(header.Get("X-Pid"))
	if err != nil {
		t.Fatalf("X-Pid: %v", err)
	}
	return pid
}

// pidFile is the content of the PID file.
func pidFile(t testing.TB, r *rig.Rig) int {
	t.Helper()
	b, err := os.ReadFile(r.Path("/run/web/web.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// checkAgreement is invariant I4: systemd, the PID file and who answers agree. It
// waits for a draining server to stop accepting, which is when they must.
func checkAgreement(t testing.TB, r *rig.Rig) int {
	t.Helper()
	main := mainPID(t, r)
	if file := pidFile(t, r); file != main {
		t.Fatalf("PID file: got %d, want the main PID %d", file, main)
	}
	rig.WaitFor(t, fmt.Sprintf("main process %d alone answers", main), 10*time.Second, func() bool {
		for range 4 {
			if answering(t, r) != main {
				return false
			}
		}
		return true
	})
	return main
}

// processes lists the processes of web.service, as "PID command line". With Delegate=
// they are in cgroups below the unit's.
func processes(t testing.TB, r *rig.Rig) []string {
	t.Helper()
	out, err := r.Run("sh", "-c", `cd /sys/fs/cgroup/system.slice/web.service 2>/dev/null || exit 0
		cat cgroup.procs */cgroup.procs */*/cgroup.procs */*/*/cgroup.procs .control/cgroup.procs 2>/dev/null | while read p; do
		echo "$p $(tr '\0' ' ' </proc/$p/cmdline)"; done`)
	if err != nil {
		t.Fatal(err)
	}
	return strings.FieldsFunc(out, func(c rune) bool { return c == '\n' })
}

// keepers counts the keepers among them, one for each generation.
func keepers(t testing.TB, r *rig.Rig) int {
	t.Helper()
	n := 0
	for _, p := range processes(t, r) {
		if strings.Contains(p, "flipexec-keeper") {
			n++
		}
	}
	return n
}

// awaitOneGeneration is invariant I3: the previous generation goes.
func awaitOneGeneration(t testing.TB, r *rig.Rig) {
	t.Helper()
	rig.WaitFor(t, "one keeper is left", 20*time.Second, func() bool { return keepers(t, r) == 1 })
}

// inRig runs a shell command in the rig.
func inRig(t testing.TB, r *rig.Rig, script string) string {
	t.Helper()
	out, err := r.Run("sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}
