//go:build linux

package integration

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
	"golang.org/x/sys/unix"
)

// TestSocketFlagsNeverChange: the flags of the open file description are those of
// every generation. The server does not touch them, as a Go server would.
func TestSocketFlagsNeverChange(t *testing.T) {
	t.Parallel()
	const server = `/bin/sh -c 'test -z "$BROKEN" || exit 3; systemd-notify --ready; exec sleep 1000'`
	for _, c := range []struct {
		name, listen string
		blocking     bool
	}{
		{"made by flipexec", "--listen http=tcp::80 ", false},
		{"made to block", "--listen http=tcp::80?nonblocking=no ", true},
		{"inherited", "", true}, // as systemd makes it
	} {
		t.Run(c.name, func(t *testing.T) {
			r := boot(t, "host")
			if err := r.WriteUnit("web.socket", "[Socket]\nListenStream=80\n"); err != nil {
				t.Fatal(err)
			}
			unit := strings.Replace(unitText(server, "EnvironmentFile=-/etc/web.env"), "--listen http=tcp::80 ", c.listen, 1)
			install(t, r, unit)
			if c.listen == "" {
				must(t, r, "start", "web.socket")
			}
			must(t, r, "start", "web")
			w := watchFlags(t, r)
			if blocking := w.want&unix.O_NONBLOCK == 0; blocking != c.blocking {
				t.Fatalf("blocking: got %v, want %v", blocking, c.blocking)
			}
			for range 3 {
				must(t, r, "reload", "web")
				w.check(t, r, "reload")
			}
			writeFile(t, r, "/etc/web.env", "BROKEN=yes\n")
			if _, err := r.Systemctl("reload", "web"); err == nil {
				t.Error("reload of a broken server: got success")
			}
			w.check(t, r, "failed reload")
			w.checkSight(t)
		})
	}
}

// A flagWatch looks at the flags of a socket all the time, on a duplicate of the
// server's descriptor: they are the description's, which all share.
type flagWatch struct {
	fd, want int
	seen     atomic.Int64 // the last flags that were different; 0 for none
	looks    atomic.Int64
}

// watchFlags watches descriptor 3 of the main process until the test ends.
func watchFlags(t *testing.T, r *rig.Rig) *flagWatch {
	t.Helper()
	pidfd, err := unix.PidfdOpen(hostPID(t, r, mainPID(t, r)), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	w := &flagWatch{}
	if w.fd, err = unix.PidfdGetfd(pidfd, 3, 0); err != nil {
		t.Fatal(err)
	}
	if w.want, err = unix.FcntlInt(uintptr(w.fd), unix.F_GETFL, 0); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		w.watch(stop)
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
		unix.Close(w.fd)
	})
	return w
}

func (w *flagWatch) watch(stop <-chan struct{}) {
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if flags, err := unix.FcntlInt(uintptr(w.fd), unix.F_GETFL, 0); err != nil || flags != w.want {
			w.seen.Store(int64(flags))
		}
		w.looks.Add(1)
	}
}

// check is for after a reload: no other flags until now, and none in what the
// processes of the current generation hold.
func (w *flagWatch) check(t *testing.T, r *rig.Rig, when string) {
	t.Helper()
	if flags := w.seen.Load(); flags != 0 {
		t.Fatalf("%s: flags were %#o, want %#o", when, flags, w.want)
	}
	var flags int
	text := strings.Join(fields(readProc(t, r, mainPID(t, r), "fdinfo/3"), "flags"), "")
	if _, err := fmt.Sscanf(text, "%o", &flags); err != nil {
		t.Fatalf("flags %q: %v", text, err)
	}
	if got, want := flags&unix.O_NONBLOCK, w.want&unix.O_NONBLOCK; got != want {
		t.Errorf("%s: O_NONBLOCK of the server: got %#o, want %#o", when, got, want)
	}
}

// checkSight changes the flags, which must be seen.
func (w *flagWatch) checkSight(t *testing.T) {
	t.Helper()
	if _, err := unix.FcntlInt(uintptr(w.fd), unix.F_SETFL, w.want^unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	rig.WaitFor(t, "the watch sees other flags", 10*time.Second, func() bool { return w.seen.Load() != 0 })
	t.Logf("looked %d times", w.looks.Load())
}

// TestKeeperInitialisesNoCommandLineLibrary, nor does a stage: the runtime lists
// the packages that a process sets up.
func TestKeeperInitialisesNoCommandLineLibrary(t *testing.T) {
	for _, c := range []struct {
		argv []string
		want bool
	}{
		{[]string{"flipexec", "--version"}, true}, // as a launcher does
		{[]string{"flipexec-keeper", "1"}, false}, // without a launcher it ends at once
		{[]string{"flipexec-stage", "3", "false", "/bin/true", "true"}, false},
	} {
		t.Run(c.argv[0], func(t *testing.T) {
			var trace bytes.Buffer
			cmd := exec.CommandContext(t.Context(), filepath.Join(programs, "flipexec"))
			cmd.Args, cmd.Env, cmd.Stderr = c.argv, []string{"GODEBUG=inittrace=1"}, &trace
			err := cmd.Run()
			if failed, want := err != nil, c.argv[0] == "flipexec-keeper"; failed != want {
				t.Errorf("run: got %v, want an error: %v", err, want)
			}
			if !strings.Contains(trace.String(), "init runtime @") {
				t.Fatalf("no package listed in:\n%s", &trace)
			}
			if got := strings.Contains(trace.String(), "init github.com/urfave/cli"); got != c.want {
				t.Errorf("command line library set up: got %v, want %v:\n%s", got, c.want, &trace)
			}
			t.Logf("%d packages", strings.Count(trace.String(), "init "))
		})
	}
}
