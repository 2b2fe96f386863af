package handoff

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// inFront is a foreground process with a notify socket and a manager of its own, which
// is the test: our process plays the launcher.
func inFront(t *testing.T) (f *foreground, outer *notify.Socket, launcher *notify.Sender) {
	t.Helper()
	dir := t.TempDir()
	socket, err := notify.Listen(filepath.Join(dir, managerName))
	if err != nil {
		t.Fatal(err)
	}
	if outer, err = notify.Listen(filepath.Join(dir, "outer")); err != nil {
		t.Fatal(err)
	}
	f = &foreground{socket: socket, launch: &launch{process: process{pid: os.Getpid()}}}
	if f.outer, err = notify.Dial(outer.Path()); err != nil {
		t.Fatal(err)
	}
	if launcher, err = notify.Dial(socket.Path()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		socket.Close()
		outer.Close()
		f.outer.Close()
		launcher.Close()
		f.main.close()
		for _, p := range f.former {
			p.close()
		}
	})
	return f, outer, launcher
}

// child starts a process that lives as long as the test.
func child(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

// said is what the manager heard, one line for each message.
func said(t *testing.T, outer *notify.Socket) string {
	t.Helper()
	var lines []string
	for {
		d, err := outer.Receive()
		if err == notify.ErrEmpty {
			return strings.Join(lines, "\n")
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, d.Message.String())
	}
}

func sendNow(t *testing.T, s *notify.Sender, m notify.Message, fds ...int) {
	t.Helper()
	if err := s.Send(m, time.Now().Add(patience), fds...); err != nil {
		t.Fatal(err)
	}
}

// TestOuterManagerHearsWhatConcernsIt: readiness and status, and never a main PID.
func TestOuterManagerHearsWhatConcernsIt(t *testing.T) {
	f, outer, launcher := inFront(t)
	pid := child(t)
	announcement := notify.Message{{Key: "MAINPID", Value: strconv.Itoa(pid)}, {Key: "READY", Value: "1"}, {Key: "STATUS", Value: "generation 1: up"}}
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"access and time", func() {
			sendNow(t, launcher, notify.Message{{Key: "EXTEND_TIMEOUT_USEC", Value: "10"}, {Key: "NOTIFYACCESS", Value: "exec"}})
		}, "EXTEND_TIMEOUT_USEC=10"},
		{"the start", func() { sendNow(t, launcher, announcement) }, `READY=1 STATUS="generation 1: up"`},
		{"a reload", func() { f.tellReloading() }, "RELOADING=1 MONOTONIC_USEC="},
		{"its announcement, before the old server has been told to stop", func() {
			announcement[0].Value = strconv.Itoa(child(t))
			sendNow(t, launcher, announcement)
		}, `STATUS="generation 1: up"`},
		{"its end", func() { f.tellReloaded("") }, "READY=1"},
		{"a reload that fails", func() {
			f.tellReloading()
			f.tellReloaded("generation 3: not ready after 1s")
		}, "RELOADING=1 MONOTONIC_USEC="},
		{"a reload that the manager did not hear of", func() { f.tellReloaded("") }, ""},
		{"sockets of another run", func() {
			sendNow(t, launcher, notify.Message{{Key: "FDSTOREREMOVE", Value: "1"}, {Key: "FDNAME", Value: "flipexec=1,0,0=a"}})
		}, "FDSTOREREMOVE=1 FDNAME=flipexec=1,0,0=a"},
		{"descriptors to store", func() { sendNow(t, launcher, notify.Message{{Key: "FDSTORE", Value: "1"}}, 0) }, ""},
	} {
		step.do()
		f.hear(maxQueue)
		got := said(t, outer)
		if !strings.HasPrefix(got, step.want) || step.want == "" && got != "" {
			t.Errorf("%s: the manager heard %q, want %q", step.name, got, step.want)
		}
		if strings.Contains(got, "PID=") {
			t.Errorf("%s: the manager heard of a process ID: %q", step.name, got)
		}
	}
	if f.main.pid == pid || len(f.former) != 1 || f.former[0].pid != pid {
		t.Errorf("main process %d, former %v, want %d among them", f.main.pid, f.former, pid)
	}
}

// TestFailedReloadIsInTheStatus, because notify-reload has no other way to tell.
func TestFailedReloadIsInTheStatus(t *testing.T) {
	f, outer, _ := inFront(t)
	f.main.pid = 77
	f.tellReloading()
	said(t, outer)
	f.tellReloaded("generation 2: not ready after 1s")
	f.main.pid = 0
	if got, want := said(t, outer), `STATUS="pid 77; reload failed: generation 2: not ready after 1s" READY=1`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestNobodyElseNamesTheMainProcess: neither a stranger, nor the launcher a process
// that is not ours, dead, or no process at all.
func TestNobodyElseNamesTheMainProcess(t *testing.T) {
	f, outer, launcher := inFront(t)
	dead := exec.Command("/bin/true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "0", "-1", "1", "007", "9999999999", "x", strconv.Itoa(os.Getppid()), strconv.Itoa(dead.Process.Pid)} {
		sendNow(t, launcher, notify.Message{{Key: "MAINPID", Value: text}})
		if f.hear(maxQueue); f.main.pid != 0 {
			t.Errorf("MAINPID=%s: main process is %d", text, f.main.pid)
		}
	}
	f.launch.pid++ // and we are a stranger
	sendNow(t, launcher, notify.Message{{Key: "MAINPID", Value: strconv.Itoa(child(t))}, {Key: "READY", Value: "1"}})
	if f.hear(maxQueue); f.main.pid != 0 || said(t, outer) != "" {
		t.Errorf("main process is %d", f.main.pid)
	}
}

// TestBarrierIsAnswered: its descriptor is closed once what came before was handled.
func TestBarrierIsAnswered(t *testing.T) {
	f, _, launcher := inFront(t)
	done := make(chan error, 1)
	go func() { done <- launcher.Barrier(time.Now().Add(patience)) }()
	awaitInput(t, f.socket.FD())
	f.hear(maxQueue)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestHandoffRequestsAreRefusedByName, with the exit status of flipexec reload.
func TestHandoffRequestsAreRefusedByName(t *testing.T) {
	busy := &launch{}
	server := process{pid: os.Getpid()}
	for _, c := range []struct {
		name    string
		f       foreground
		request message
		code    int
		want    string
	}{
		{"another message", foreground{main: server}, newMessage("dance", spoken), ExitFailed, `unknown request "dance"`},
		{"no version", foreground{main: server}, message{kind: msgHandoff}, ExitFailed, `message "handoff": version="" is no number`},
		{"another version", foreground{main: server}, newMessage(msgHandoff, versions{9, 9}), ExitFailed, "version 9; hint: systemctl restart"},
		{"while it starts", foreground{launch: busy}, newMessage(msgHandoff, spoken), ExitBusy, "generation 1 is still starting"},
		{"during another", foreground{launch: busy, main: server}, newMessage(msgHandoff, spoken), ExitBusy, "another handoff is under way"},
		{"after the server's end", foreground{main: server, exited: true}, newMessage(msgHandoff, spoken), ExitNotRunning, "the server has ended"},
		{"at the end", foreground{main: server, leaving: true}, newMessage(msgHandoff, spoken), ExitNotRunning, "the server has ended"},
	} {
		err := c.f.refuse(c.request)
		checkError(t, c.name, err, c.want)
		if got := ExitCode(err); got != c.code {
			t.Errorf("%s: got exit code %d, want %d", c.name, got, c.code)
		}
	}
	f := foreground{main: server}
	if err := f.refuse(newMessage(msgHandoff, spoken)); err != nil {
		t.Errorf("got %v", err)
	}
}

// TestAskingForAHandoffEndsAsTheHandoffDoes.
func TestAskingForAHandoffEndsAsTheHandoffDoes(t *testing.T) {
	for name, c := range map[string]struct {
		answer []message
		code   int
		want   string
	}{
		"done":    {[]message{text(msgProgress, "generation 2 ready"), result(0, "")}, 0, ""},
		"failed":  {[]message{result(1, "generation 2: not ready after 1s")}, 1, "generation 2: not ready after 1s"},
		"refused": {[]message{refused("3", "another handoff is under way")}, 3, "another handoff is under way"},
		"hung up": {nil, 1, "foreground process: it left without an answer"},
		"unknown": {[]message{text("later", "?"), result(127, "x")}, 127, "x"},
		"no code": {[]message{text(msgResult, "x")}, 1, "x"},
	} {
		checkFDs(t)
		us, them := channelPair(t)
		done := make(chan error, 1)
		go func() {
			done <- askForeground(us, []Setting{{"name", "web"}, {"listen", "tcp::80"}}, []string{"server", "-x"}, true)
		}()
		request := receiveRecords(t, them)
		checkGolden(t, "handoff", request)
		for _, m := range c.answer {
			send(t, them, m)
		}
		them.close()
		err := <-done
		us.close()
		if got := ExitCode(err); got != c.code || c.want == "" != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, exit code %d, want %q, %d", name, err, got, c.want, c.code)
		}
	}
}

func text(kind, s string) message {
	m := message{kind: kind}
	m.add("text", s)
	return m
}

func result(code int, s string) message {
	m := text(msgResult, s)
	m.add("code", strconv.Itoa(code))
	return m
}

func refused(code, reason string) message {
	m := newMessage(msgRefused, spoken)
	m.add("code", code)
	m.add("reason", reason)
	return m
}

// TestLauncherGetsWhatSystemdWouldGiveIt by a foreground process that systemd started.
func TestLauncherGetsWhatSystemdWouldGiveIt(t *testing.T) {
	f, _, _ := inFront(t)
	own := strconv.Itoa(os.Getpid())
	f.run = "/run/flipexec/web/12"
	f.env = []string{"A=1", "NOTIFY_SOCKET=/run/systemd/notify", "WATCHDOG_USEC=5", "WATCHDOG_PID=" + own, "SYSTEMD_EXEC_PID=" + own,
		"LISTEN_FDS=1", "LISTEN_PID=" + own, "LISTEN_FDNAMES=http", "MAINPID=1", "RUNTIME_DIRECTORY=/run/web", directoryVariable + "=/x"}
	always := []string{"A=1", "RUNTIME_DIRECTORY=/run/web", "NOTIFY_SOCKET=" + f.socket.Path(), directoryVariable + "=/run/flipexec/web/12", "SYSTEMD_EXEC_PID="}
	if got, want := f.launcherEnviron(), append(slices.Clone(always), "WATCHDOG_USEC=5"); !slices.Equal(got, want) {
		t.Errorf("without sockets:\n got %q\nwant %q", got, want)
	}
	f.inherited = goldenEstate(0).Sockets[:1]
	if got, want := f.launcherEnviron(), append(slices.Clone(always), "WATCHDOG_USEC=5", "LISTEN_PID=", "LISTEN_FDS=1", "LISTEN_FDNAMES=http"); !slices.Equal(got, want) {
		t.Errorf("start:\n got %q\nwant %q", got, want)
	}
	f.main.pid = 77
	if got, want := f.launcherEnviron(), append(slices.Clone(always), "MAINPID=77"); !slices.Equal(got, want) {
		t.Errorf("reload:\n got %q\nwant %q", got, want)
	}
	f.main.pid = 0
}

// TestDyingForegroundProcessTakesItsGenerationWithIt, in every state in which there
// is one to take.
func TestDyingForegroundProcessTakesItsGenerationWithIt(t *testing.T) {
	for s := starting; s <= gone; s++ {
		to, ok := next(s, isDeserted)
		switch s {
		case current:
			if to != (step{draining, finishDeserted}) {
				t.Errorf("%v: got %v", s, to)
			}
		case draining, failed, gone: // it ends anyway
			if ok {
				t.Errorf("%v: got %v, want nothing", s, to)
			}
		default:
			if to != (step{failed, stopFailed}) {
				t.Errorf("%v: got %v", s, to)
			}
		}
	}
}

// TestExitCodeIsThatOfAShell.
func TestExitCodeIsThatOfAShell(t *testing.T) {
	for ws, want := range map[unix.WaitStatus]int{0: 0, 7 << 8: 7, 9: 137, 15: 143, 11 | 0x80: 139} {
		if got := exitCode(ws); got != want {
			t.Errorf("status %#x: got %d, want %d", uint32(ws), got, want)
		}
	}
}
