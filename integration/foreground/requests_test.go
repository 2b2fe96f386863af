//go:build linux

package foreground_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReloadSaysHowItGoes, and leaves with a status that says the same.
func TestReloadSaysHowItGoes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if status, out := s.reload(); status != 4 || !strings.Contains(out, "flipexec: reload: nothing") {
		t.Errorf("before the start: got status %d: %s", status, out)
	}
	f := s.start()
	status, out := s.reload()
	if status != 0 || strings.Count(out, "\n") != 3 {
		t.Errorf("got status %d: %s", status, out)
	}
	for _, want := range []string{"flipexec: generation 2 starting pid=", "flipexec: generation 2 ready pid=", "flipexec: generation 2 current pid="} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in:\n%s", want, out)
		}
	}
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--", "false"}, 1, "flipexec: reload: generation 3: server exited with status 1 before it was ready\n"},
		{[]string{"--", "/none"}, 127, `flipexec: reload: command "/none": not found`},
		{[]string{"--", "/etc/passwd"}, 126, `flipexec: reload: command "/etc/passwd": permission denied`},
		{[]string{"--ready-timeout", "1ms", "--", "env", "HANG=1", "witness"}, 1, "flipexec: reload: generation 3: not ready after 1ms"},
		{[]string{"--stop-signal", "NONE"}, 2, "flipexec: --stop-signal"},
	} {
		if status, out := s.reload(c.args...); status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%q: got status %d, want %d: %s", c.args, status, c.status, out)
		}
	}
	s.server("2")
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGTERM))
}

// TestReloadDuringAnotherIsRefused, and neither disturbs it.
func TestReloadDuringAnotherIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	f := s.start("flipexec", "--name", "web", "--", "witness")
	done := make(chan string)
	go func() {
		_, out := s.reload("--", "env", "HANG=1", "witness")
		done <- out
	}()
	hanging := s.server("2")
	if status, out := s.ask(); status != 3 || !strings.Contains(out, "another handoff is under way") {
		t.Errorf("got status %d: %s", status, out)
	}
	unix.Kill(hanging, unix.SIGKILL)
	if out, want := <-done, "server killed by signal KILL before it was ready"; !strings.Contains(out, want) {
		t.Errorf("want %q in:\n%s", want, out)
	}
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGTERM))
}

// TestReloadOfALongCommandLine.
func TestReloadOfALongCommandLine(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	f := s.start()
	s.mustReload("--", "env", "LONG="+strings.Repeat("x", 30000), "witness", strings.Repeat("y", 100000))
	if got := len(read(t, s.server("2"), "cmdline")); got < 100000 {
		t.Errorf("command line: got %d bytes", got)
	}
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGTERM))
}

// TestKilledRequesterDoesNotStopTheHandoff.
func TestKilledRequesterDoesNotStopTheHandoff(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	fifo := filepath.Join(s.dir, "go")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	f := s.start()
	s.awaitIdle(f)
	cmd, _ := s.command("flipexec", "reload", "--", "sh", "-c", "read line <go; exec witness")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.out.awaitText(t, "generation 2 starting", 1)
	cmd.Process.Kill()
	cmd.Wait()
	if err := os.WriteFile(fifo, []byte("\n"), 0); err != nil {
		t.Fatal(err)
	}
	f.out.awaitText(t, "generation 2 current", 1)
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGTERM))
}

// TestRequesterThatDoesNotReadHoldsNothingUp, nor do those that never ask for anything.
func TestRequesterThatDoesNotReadHoldsNothingUp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	f := s.start()
	for range 40 {
		defer unix.Close(s.connect())
	}
	s.awaitIdle(f)
	silent := s.connect()
	defer unix.Close(silent)
	if _, err := unix.Write(silent, []byte(".handoff\x00version=1\x00least=1\x00manager=false\x00")); err != nil {
		t.Fatal(err)
	}
	f.out.awaitText(t, "generation 2 current", 1)
	s.mustReload()
	f.out.awaitText(t, "generation 3 current", 1)
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGTERM))
}

// connect opens a connection for requests, which is the caller's to close.
func (s *site) connect() int {
	s.t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: filepath.Join(s.runtime(), "foreground.sock")})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return fd
}

// TestSecondInstanceOfOneNameIsRefused, and says what to do.
func TestSecondInstanceOfOneNameIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	f := s.start()
	cmd, out := s.command("flipexec", "--", "witness")
	cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != 1 || !strings.Contains(out.String(), "hint: --name, if this is another instance") {
		t.Errorf("got status %d: %s", got, out)
	}
	s.mustReload() // which the first one still does
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGTERM))
}

// TestReloadAsksWhichInstance if there are several.
func TestReloadAsksWhichInstance(t *testing.T) {
	t.Parallel()
	name := "fx" + strconv.Itoa(os.Getpid())
	s := newSite(t)
	s.extra = []string{"FLIPEXEC_RUNTIME_DIRECTORY=", "XDG_RUNTIME_DIR=" + s.runtime()} // root has its own
	first := s.start("flipexec", "--name", name+"a", "--", "witness")
	second := s.start("flipexec", "--name", name+"b", "--", "witness")
	status, out := s.reload()
	if status != 2 || !strings.Contains(out, name+"a") || !strings.Contains(out, name+"b") || !strings.Contains(out, "several are running: ") {
		t.Errorf("got status %d: %s", status, out)
	}
	s.mustReload("--name", name+"b")
	second.out.awaitText(t, "generation 2 current", 1)
	if status, out := s.reload("--name", name+"c"); status != 4 || !strings.Contains(out, `nothing called "`+name+`c" is running`) {
		t.Errorf("got status %d: %s", status, out)
	}
	for _, f := range []*front{first, second} {
		f.signal(unix.SIGTERM)
		<-f.exit
	}
	os.Remove(filepath.Join(s.runtime(), "flipexec"))
	s.awaitNothing()
}

// TestReloadWithoutAReader: what flipexec says goes nowhere, and that changes nothing.
func TestReloadWithoutAReader(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd, _ := s.command("flipexec", "--", "witness")
	cmd.Stdout, cmd.Stderr = nil, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	r.Close()
	s.awaitTold("ready", 1)
	if status, out := s.reload("--", "false"); status != 1 || !strings.Contains(out, "server exited with status 1 before it was ready") {
		t.Errorf("got status %d: %s", status, out)
	}
	s.mustReload()
	s.server("2")
	cmd.Process.Signal(unix.SIGTERM)
	cmd.Wait()
	s.awaitNothing()
}

// TestNameOfAnotherProgramIsNotBelieved: argv[0] is what somebody chose.
func TestNameOfAnotherProgramIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	f := s.start("bash", "-c", `exec -a false flipexec -- witness`)
	s.mustReload()
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGTERM))
}
