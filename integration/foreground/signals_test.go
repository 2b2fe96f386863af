//go:build linux

package foreground_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// signalName is what a witness calls it.
func signalName(sig unix.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return fmt.Sprint(int(sig))
}

// TestEverySignalReachesTheServerOnce, but for those that flipexec answers itself, that
// nobody can catch, and that belong to the runtimes of C and Go.
func TestEverySignalReachesTheServerOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, "TERMS=2")
	f := s.start()
	for sig := unix.Signal(1); sig <= 64; sig++ {
		switch sig {
		case unix.SIGHUP, unix.SIGPIPE, unix.SIGCHLD: // a reload, nothing, ours
		case unix.SIGINT, unix.SIGQUIT: // end the server
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGTTIN, unix.SIGTTOU:
		case unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS: // our own faults
		case unix.SIGURG, unix.SIGPROF, 32, 33, 34: // the runtimes'
		case unix.SIGTSTP: // does nothing without a shell, as it would directly
		default:
			f.signal(sig)
			s.awaitTold("signal "+signalName(sig), 1)
		}
	}
	f.signal(unix.SIGTERM) // the second one
	f.wantExit(128 + int(unix.SIGTERM))
	told := s.allTold()
	for line := range strings.Lines(told) {
		want := 1
		if line == "signal TERM\n" {
			want = 2
		}
		if got := strings.Count(told, line); got != want {
			t.Errorf("%sgot it %d times, want %d", line, got, want)
		}
	}
}

// TestSignalDuringTheStartEndsEverything, with the status as if the server had got it.
func TestSignalDuringTheStartEndsEverything(t *testing.T) {
	t.Parallel()
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGQUIT} {
		t.Run(signalName(sig), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "HANG=1")
			f := s.begin()
			s.server("1")
			f.out.awaitText(t, "generation 1 starting", 1)
			f.signal(sig)
			f.wantExit(128 + int(sig))
		})
	}
}

// TestOtherSignalsReachAServerThatStarts.
func TestOtherSignalsReachAServerThatStarts(t *testing.T) {
	t.Parallel()
	s := newSite(t, "HANG=1")
	f := s.begin()
	s.server("1")
	eventually(t, "the server is known", func() bool {
		f.signal(unix.SIGUSR1)
		return strings.Contains(s.told.String(), "signal USR1")
	})
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGTERM))
}

// TestStopDuringAReloadEndsBothServers.
func TestStopDuringAReloadEndsBothServers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	f := s.start()
	status := make(chan int, 1)
	go func() {
		code, out := s.reload("--", "env", "HANG=1", "witness")
		fmt.Fprint(f.out, out)
		status <- code
	}()
	s.server("2")
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGTERM))
	if got := <-status; got != 1 {
		t.Errorf("flipexec reload: got status %d, want 1", got)
	}
	if want := "reload: flipexec was told to end by signal TERM"; !strings.Contains(f.out.String(), want) {
		t.Errorf("want %q in:\n%s", want, f.out)
	}
}

// TestStopOfAStoppedLauncher: it is continued, to end.
func TestStopOfAStoppedLauncher(t *testing.T) {
	t.Parallel()
	s := newSite(t, "HANG=1")
	f := s.begin()
	s.server("1")
	unix.Kill(s.launcher(f), unix.SIGSTOP)
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGTERM))
}

// launcher is the one at work.
func (s *site) launcher(f *front) int {
	s.t.Helper()
	for _, pid := range s.processes() {
		if line, err := os.ReadFile(proc(pid, "cmdline")); err == nil && strings.HasPrefix(string(line), "flipexec\x00") && parent(pid) == f.Process.Pid {
			return pid
		}
	}
	s.t.Fatal("no launcher")
	return 0
}

// TestHangUpSignalDuringAReloadIsAnotherReload: the one under way may have read the old
// configuration already.
func TestHangUpSignalDuringAReloadIsAnotherReload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	fifo := filepath.Join(s.dir, "go")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	f := s.start("flipexec", "--", "sh", "-c", `[ $FLIPEXEC_GENERATION != 2 ] || read line <go; exec witness`)
	f.signal(unix.SIGHUP)
	f.out.awaitText(t, "generation 2 starting", 1)
	f.signal(unix.SIGHUP)
	f.signal(unix.SIGUSR1)
	s.awaitTold("signal USR1", 1) // and the SIGHUP before it has been taken
	if err := os.WriteFile(fifo, []byte("\n"), 0); err != nil {
		t.Fatal(err)
	}
	f.out.awaitText(t, "generation 3 current", 1)
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGTERM))
	if strings.Contains(s.allTold(), "generation 4") {
		t.Error("one reload too many")
	}
}

// TestExitStatusIsTheServers, as a shell has it.
func TestExitStatusIsTheServers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status string
		sig    unix.Signal
		want   int
	}{{"0", unix.SIGQUIT, 0}, {"7", unix.SIGQUIT, 7}, {"255", unix.SIGQUIT, 255}, {"", unix.SIGKILL, 137}, {"", unix.SIGHUP, 129}} {
		t.Run(c.status+signalName(c.sig), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "STATUS="+c.status)
			f := s.start()
			s.mustReload()
			f.out.awaitText(t, "generation 1 gone", 1)
			if err := unix.Kill(s.server("2"), c.sig); err != nil {
				t.Fatal(err)
			}
			f.wantExit(c.want)
		})
	}
}

// TestDrainingServerGetsItsTimeAtTheEnd: who has been replaced finishes, though the last
// server has left.
func TestDrainingServerGetsItsTimeAtTheEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, "TERMS=2")
	f := s.start()
	s.mustReload()
	s.awaitTold("signal TERM", 1) // of the two that it takes
	unix.Kill(s.server("2"), unix.SIGKILL)
	f.out.awaitText(t, "generation 2 gone", 1)
	f.signal(unix.SIGUSR1)
	s.awaitTold("signal USR1", 1) // it is there, and gets what comes
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGKILL))
}

// TestKilledForegroundProcessLeavesNothing: the server is told to finish, at every stage.
func TestKilledForegroundProcessLeavesNothing(t *testing.T) {
	t.Parallel()
	t.Run("current", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		f := s.start()
		f.signal(unix.SIGKILL)
		f.wantExit(-int(unix.SIGKILL))
		s.awaitTold("signal TERM", 1)
	})
	t.Run("starting", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, "HANG=1")
		f := s.begin()
		s.server("1")
		f.signal(unix.SIGKILL)
		f.wantExit(-int(unix.SIGKILL))
		s.awaitTold("signal TERM", 1)
	})
	t.Run("reloading", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		f := s.start()
		go s.reload("--", "env", "HANG=1", "witness")
		s.server("2")
		f.signal(unix.SIGKILL)
		f.wantExit(-int(unix.SIGKILL))
		s.awaitTold("signal TERM", 2)
	})
}

// TestNextForegroundProcessIsLeftAlone by what is left of one that was killed.
func TestNextForegroundProcessIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, "TERMS=2")
	first := s.start()
	old := s.server("1")
	first.signal(unix.SIGKILL)
	<-first.exit
	s.awaitTold("signal TERM", 1) // of the two that it takes
	second := s.start()
	if err := unix.Kill(old, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	first.out.awaitText(t, "generation 1 gone", 1)
	path := ""
	for _, entry := range strings.Split(read(t, s.server("1"), "environ"), "\x00") {
		if value, ok := strings.CutPrefix(entry, "NOTIFY_SOCKET="); ok {
			path = value
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	s.mustReload()
	for _, generation := range []string{"1", "2"} {
		unix.Kill(s.server(generation), unix.SIGKILL)
	}
	second.wantExit(128 + int(unix.SIGKILL))
}

// TestOrphansEndWithTheServer: flipexec is their parent by then, and reaps those that
// end before.
func TestOrphansEndWithTheServer(t *testing.T) {
	t.Parallel()
	for name, orphan := range map[string]string{
		"that listens":    "setsid -f sleep 1000",
		"that does not":   `setsid -f sh -c 'trap "" TERM; while :; do sleep 1000; done'`,
		"that multiplies": `setsid -f sh -c 'trap "" TERM; while :; do setsid -f sh -c "trap : TERM; sleep 1000; sleep 1000"; sleep 0.1; done'`,
		"that has ended":  "setsid -f true",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			f := s.start("flipexec", "--drain-timeout", "1s", "--", "sh", "-c", orphan+"; exec witness")
			if name == "that has ended" {
				eventually(t, "nobody is a zombie", func() bool { return !strings.Contains(states(t, f.Process.Pid), "Z") })
			}
			f.signal(unix.SIGTERM)
			f.wantExit(128 + int(unix.SIGTERM))
		})
	}
}

// states are the letters of the children.
func states(t *testing.T, pid int) (all string) {
	t.Helper()
	for _, child := range children(t, pid) {
		all += state(child)
	}
	return all
}
