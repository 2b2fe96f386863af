//go:build linux

package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// badReload is an ExecReload= that must fail. FLIPEXEC stands for the program.
type badReload struct {
	name, command string
	lines         string // more for [Service]
	status        int
	want          string
}

var badReloads = []badReload{
	{"no NOTIFY_SOCKET", "/usr/bin/env -u NOTIFY_SOCKET FLIPEXEC reload", "", 1, "hint: NotifyAccess=exec in the unit"},
	{"NOTIFY_SOCKET that does not exist", "/usr/bin/env NOTIFY_SOCKET=/nowhere/n FLIPEXEC reload", "", 1, "/nowhere/n: no such file or directory"},
	{"behind a shell", "/bin/sh -c 'FLIPEXEC reload; exit $?'", "", 1, "hint: call flipexec directly, or with exec from a shell"},
	{"another control socket", "/usr/bin/env RUNTIME_DIRECTORY=/nowhere FLIPEXEC reload", "", 4,
		"nothing is running: connect /nowhere/flipexec.sock: no such file or directory"},
	{"unknown network", "FLIPEXEC reload --listen sctp::80", "", 2, `--listen "sctp::80": unknown network "sctp"`},
	{"duplicate name", "FLIPEXEC reload --listen a=tcp::82 --listen a=tcp::83", "", 2, `duplicate name "a"`},
	{"address in use", "FLIPEXEC reload --listen http=tcp::80 --listen tcp::81", "", 1, "listen tcp::81: address already in use"},
	{"path in a missing directory", "FLIPEXEC reload --listen http=tcp::80 --listen unix:/nowhere/s", "", 1, "listen unix:/nowhere/s: no such file or directory"},
	{"regular file at the path", "FLIPEXEC reload --listen unix:/srv/precious", "", 1, "the file at this path is no socket and stays"},
	{"live socket of somebody else", "FLIPEXEC reload --listen unix:/srv/live", "", 1, "listen unix:/srv/live: another process listens here"},
	{"second of two sockets", "FLIPEXEC reload --listen unix:/srv/new --listen tcp::81", "", 1, "listen tcp::81: address already in use"},
	{"command not found", "FLIPEXEC reload -- /nowhere/server", "", 127, `command "/nowhere/server": not found`},
	{"command not executable", "FLIPEXEC reload -- /etc/passwd", "", 126, `command "/etc/passwd": permission denied`},
	{"PID file in a missing directory", "FLIPEXEC reload --pid-file /nowhere/p", "", 1, "check /nowhere/p: directory /nowhere/: no such file or directory"},
	{"PID file in a read-only directory", "FLIPEXEC reload --pid-file /srv/p", "ReadOnlyPaths=/srv", 1, "check /srv/p: directory /srv/: read-only file system"},
	{"no command behind --", "FLIPEXEC reload --", "", 2, "reload: no command after --"},
	{"command without --", "FLIPEXEC reload server", "", 2, `unknown command "server"`},
}

// TestBadReloadChangesNothing: a reload that cannot work is refused by name, and
// server, main PID, PID file, paths and sockets are as before: invariants I2 and I10.
func TestBadReloadChangesNothing(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	stays := obstacles(t, r)
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid, before := checkAgreement(t, r), world(t, r)
	unchanged := func(t *testing.T) {
		t.Helper()
		if got := checkAgreement(t, r); got != pid {
			t.Errorf("main process: got %d, want %d", got, pid)
		}
		if after := world(t, r); after != before {
			t.Errorf("processes, files and descriptors:\ngot  %s\nwant %s", after, before)
		}
		for _, path := range []string{"/srv/new", "/srv/p", "/nowhere"} {
			if _, err := os.Lstat(r.Path(path)); !os.IsNotExist(err) {
				t.Errorf("%s is there: %v", path, err)
			}
		}
		stays(t)
	}
	for _, c := range badReloads {
		t.Run(c.name, func(t *testing.T) {
			command := strings.NewReplacer("FLIPEXEC", "/opt/flipexec/flipexec", "$", "$$").Replace(c.command)
			install(t, r, strings.Replace(unitText(goServer, c.lines), "ExecReload=/opt/flipexec/flipexec reload", "ExecReload="+command, 1))
			said := r.Journal("web.service")
			if out, err := r.Systemctl("reload", "web"); err == nil {
				t.Errorf("systemctl reload: got success: %s", out)
			}
			checkReloadStatus(t, r, "web", c.status)
			checkOneLine(t, strings.TrimPrefix(r.Journal("web.service"), said), c.want)
			unchanged(t)
		})
	}
	t.Run("by hand", func(t *testing.T) {
		checkByHand(t, r, nil, 4, "reload: nothing that was started outside of systemd is running; hint: systemctl reload UNIT")
		unchanged(t)
	})
	t.Run("another reload is under way", func(t *testing.T) {
		done := beginReload(t, r, "GOHTTP_HANG=1")
		env := []string{
			fmt.Sprintf("MAINPID=%d", pid), "NOTIFY_SOCKET=/run/systemd/notify",
			"RUNTIME_DIRECTORY=/run/web", "INVOCATION_ID=" + show(r, "InvocationID"),
		}
		checkByHand(t, r, env, 3, "reload: another handoff is under way")
		inRig(t, r, "pkill -KILL --newest gohttp")
		if err := <-done; err == nil {
			t.Error("the first reload: got success")
		}
		unchanged(t)
	})
}

// checkReloadStatus finds the exit status of the last ExecReload=.
func checkReloadStatus(t *testing.T, r *rig.Rig, unit string, want int) {
	t.Helper()
	last := r.Show(unit, "ExecReload")["ExecReload"]
	m := regexp.MustCompile(`status=(\d+)`).FindStringSubmatch(last)
	if m == nil || m[1] != fmt.Sprint(want) {
		t.Errorf("exit status: want %d in %s", want, last)
	}
}

// checkByHand runs flipexec reload outside of the unit.
func checkByHand(t *testing.T, r *rig.Rig, env []string, status int, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := r.Command(ctx, "/opt/flipexec/flipexec", "reload")
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != status {
		t.Errorf("by hand: got %v, want exit status %d", err, status)
	}
	if got := string(out); !strings.HasPrefix(got, "flipexec: "+want) || strings.Count(got, "\n") != 1 {
		t.Errorf("by hand: got %q, want one line with %q in it", got, want)
	}
}

// TestReloadOfAPlainServerSaysThatNothingIsRunning: the unit was started without
// flipexec.
func TestReloadOfAPlainServerSaysThatNothingIsRunning(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	for _, directory := range []string{"RuntimeDirectory=web", ""} {
		install(t, r, "[Service]\nExecStart=/bin/sleep infinity\nNotifyAccess=exec\nExecReload=/opt/flipexec/flipexec reload\n"+directory+"\n")
		must(t, r, "restart", "web")
		pid, said := mainPID(t, r), r.Journal("web.service")
		if _, err := r.Systemctl("reload", "web"); err == nil {
			t.Errorf("%q: systemctl reload: got success", directory)
		}
		checkReloadStatus(t, r, "web", 4)
		checkOneLine(t, strings.TrimPrefix(r.Journal("web.service"), said), "nothing is running: connect ")
		if got := mainPID(t, r); got != pid || show(r, "ActiveState") != "active" {
			t.Errorf("%q: main process: got %d, want %d", directory, got, pid)
		}
	}
}
