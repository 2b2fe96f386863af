//go:build linux

package integration

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// TestUserManager: the same under systemd --user, without any privilege.
func TestUserManager(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	must(t, r, "start", "user@1000")
	inRig(t, r, "mkdir -p /etc/systemd/user")
	writeFile(t, r, "/etc/systemd/user/web.service", strings.NewReplacer(
		"tcp::80", "tcp::8080", " --pid-file=/run/web/web.pid", "").Replace(unitText(goServer)))
	user := func(args ...string) string {
		t.Helper()
		out, err := r.RunAs("rig", 1000, append([]string{"systemctl", "--user"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	main := func() int {
		t.Helper()
		pid, err := strconv.Atoi(user("show", "--value", "-p", "MainPID", "web"))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	user("start", "web")
	pid := main()
	for range 2 {
		user("reload", "web")
		if got := main(); got == pid {
			t.Errorf("main process: still %d", pid)
		}
		pid = main()
	}
	if got := strings.TrimSpace(inRig(t, r, "ps -o ppid= -p "+strconv.Itoa(pid))); got == "1" {
		t.Error("the server is a child of the system's manager, not of the user's")
	}
	user("stop", "web")
	if got := user("show", "--value", "-p", "Result", "web"); got != "success" {
		t.Errorf("Result: got %q, want success", got)
	}
}

// TestDelegatedUnit: with Delegate= systemd runs a reload in a cgroup of its own,
// below the unit's.
func TestDelegatedUnit(t *testing.T) {
	t.Parallel()
	for name, more := range map[string][]string{
		"with a runtime directory": {"Delegate=yes"},
		"with an abstract name":    {"Delegate=yes", "RuntimeDirectory="},
	} {
		t.Run(name, func(t *testing.T) {
			r := boot(t, "host")
			text := unitText(goServer, more...)
			if len(more) > 1 {
				text = strings.Replace(text, "/run/web/web.pid", "/run/web.pid", 1)
			}
			install(t, r, text)
			must(t, r, "start", "web")
			pid := answering(t, r)
			for range 2 {
				must(t, r, "reload", "web")
			}
			if got := mainPID(t, r); got == pid {
				t.Errorf("main process: still %d", pid)
			}
			must(t, r, "stop", "web")
			if got := show(r, "Result"); got != "success" {
				t.Errorf("Result: got %q, want success", got)
			}
		})
	}
}

// TestPrivatePIDsUnit: as process 1 of the unit's PID namespace flipexec stays in front,
// because no number of a process in there means anything to systemd.
func TestPrivatePIDsUnit(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{"trixie", "forky"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := boot(t, suite)
			install(t, r, strings.Replace(unitText(goServer, "PrivatePIDs=yes", "KillMode=mixed"), "NotifyAccess=exec\n", "", 1))
			must(t, r, "start", "web")
			front, server := mainPID(t, r), answering(t, r)
			load := startTraffic(t, r)
			must(t, r, "reload", "web")
			inRig(t, r, "kill -HUP "+strconv.Itoa(front))
			rig.WaitFor(t, "generation 3 answers", 10*time.Second, func() bool {
				_, header := get(t, r, "/")
				return header.Get("X-Generation") == "3"
			})
			load.stop(t)
			if got := mainPID(t, r); got != front {
				t.Errorf("main process: got %d, want %d as before", got, front)
			}
			if got := answering(t, r); got == server {
				t.Errorf("the first server still answers")
			}
			// systemd 257 looks before the parent of process 1 has left, now and
			// then, takes it for an alien, and kills it at once.
			alien := strings.Contains(r.Journal("web.service"), "which is not our child")
			must(t, r, "stop", "web")
			if got := show(r, "Result"); got != "success" && !alien {
				t.Errorf("Result: got %q, want success", got)
			}
		})
	}
}
