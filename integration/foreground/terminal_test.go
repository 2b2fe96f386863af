//go:build linux

package foreground_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// untilStopped waits for the shell to know that a job has stopped, in the line that had
// it run: or it may say so before the next prompt, or after that.
const untilStopped = "until jobs -s | grep -q .; do :; done"

// A session is what somebody does in a terminal.
type session struct {
	name string
	env  []string
	do   func(u *terminal)
}

var sessions = []session{
	{"Ctrl-C", nil, func(u *terminal) {
		u.enter("./run.sh")
		u.awaitReady()
		u.press(ctrlC)
		u.awaitTold("signal INT", 1)
		u.enter("echo $?")
	}},
	{"Ctrl-backslash", nil, func(u *terminal) {
		u.enter("./run.sh")
		u.awaitReady()
		u.press(ctrlBackslash)
		u.awaitTold("signal QUIT", 1)
		u.enter("echo $?")
	}},
	{"Ctrl-Z and fg", nil, func(u *terminal) {
		u.enter("./run.sh")
		u.awaitReady()
		u.press(ctrlZ)
		u.enter("echo $?; jobs")
		u.enter("fg")
		u.awaitTold("signal CONT", 1)
		u.press(ctrlC)
		u.awaitTold("signal INT", 1)
		u.enter("echo $?")
	}},
	{"Ctrl-Z, bg and kill", nil, func(u *terminal) {
		u.enter("./run.sh")
		u.awaitReady()
		u.press(ctrlZ)
		u.enter("bg")
		u.awaitTold("signal CONT", 1)
		u.enter("kill %1; wait %1; echo $?")
	}},
	{"in the background", nil, func(u *terminal) {
		u.enter("./run.sh &")
		u.awaitReady()
		u.enter("kill %1; wait %1; echo $?")
	}},
	{"a passphrase before it is ready, then lines", []string{"READ=start"}, func(u *terminal) {
		u.enter("./run.sh")
		u.awaitReading(u.server(u.generation))
		u.press("sesame\n")
		u.awaitReady()
		u.press("hello\n")
		u.awaitTold("read hello", 1)
		u.press(ctrlC)
		u.awaitTold("signal INT", 1)
		u.enter("echo $?")
	}},
	{"Ctrl-C at the passphrase", []string{"READ=start"}, func(u *terminal) {
		u.enter("./run.sh")
		u.awaitReading(u.server(u.generation))
		u.press(ctrlC)
		u.awaitTold("signal INT", 1)
		u.enter("echo $?")
	}},
	{"Ctrl-Z at the passphrase", []string{"READ=start"}, func(u *terminal) {
		u.enter("./run.sh")
		u.awaitReading(u.server(u.generation))
		u.press(ctrlZ)
		u.enter("echo $?; jobs")
		u.enter("fg")
		u.awaitReading(u.server(u.generation))
		u.press("sesame\n")
		u.awaitReady()
		u.press(ctrlC)
		u.awaitTold("signal INT", 1)
		u.enter("echo $?")
	}},
	{"a passphrase in the background, then fg", []string{"READ=start"}, func(u *terminal) {
		u.enter("./run.sh & " + untilStopped)
		u.enter("jobs")
		u.enter("fg")
		u.awaitReading(u.server(u.generation))
		u.press("sesame\n")
		u.awaitReady()
		u.press(ctrlC)
		u.awaitTold("signal INT", 1)
		u.enter("echo $?")
	}},
	{"a reader in the background", []string{"READ=ready"}, func(u *terminal) {
		u.enter("./run.sh")
		u.awaitReady()
		u.awaitReading(u.server(u.generation))
		u.press(ctrlZ)
		u.awaitPrompt()
		u.enter("bg; " + untilStopped)
		u.enter("jobs")
		u.enter("fg")
		u.awaitReading(u.server(u.generation))
		u.press("hello\n")
		u.awaitTold("read hello", 1)
		u.press(ctrlC)
		u.awaitTold("signal INT", 1)
		u.enter("echo $?")
	}},
	{"a server that was stopped", nil, func(u *terminal) {
		u.enter("./run.sh")
		u.awaitReady()
		unix.Kill(u.server(u.generation), unix.SIGSTOP)
		u.enter("echo $?; jobs")
		u.enter("fg")
		u.awaitTold("signal CONT", 1)
		u.press(ctrlC)
		u.awaitTold("signal INT", 1)
		u.enter("echo $?")
	}},
	{"a server that was killed", nil, func(u *terminal) {
		u.enter("./run.sh")
		u.awaitReady()
		unix.Kill(u.server(u.generation), unix.SIGKILL)
		u.enter("echo $?")
	}},
	{"a window that is made larger", nil, func(u *terminal) {
		u.enter("./run.sh")
		u.awaitReady()
		u.resize(50, 132)
		u.awaitTold("signal WINCH", 1)
		u.press(ctrlC)
		u.awaitTold("signal INT", 1)
		u.enter("echo $?")
	}},
	{"no word from the background", nil, func(u *terminal) {
		u.enter("stty tostop")
		u.enter("./run.sh")
		u.awaitReady()
		u.press(ctrlC)
		u.awaitTold("signal INT", 1)
		u.enter("echo $?")
	}},
	{"in a pipeline", nil, func(u *terminal) {
		u.enter("./run.sh 2>/dev/tty | cat")
		u.awaitReady()
		u.press(ctrlZ)
		u.enter("fg")
		u.awaitTold("signal CONT", 1)
		u.press(ctrlC)
		u.awaitTold("signal INT", 1)
		u.enter(`echo "${PIPESTATUS[@]}"`)
	}},
	{"in a script", nil, func(u *terminal) {
		u.enter("sh -c './run.sh; echo after $?'")
		u.awaitReady()
		u.press(ctrlC)
		u.awaitTold("signal INT", 1)
		u.enter("echo $?")
	}},
	{"in a script of bash", nil, func(u *terminal) {
		u.enter("bash -c './run.sh; echo after $?'")
		u.awaitReady()
		u.press(ctrlC)
		u.awaitTold("signal INT", 1)
		u.enter("echo $?")
	}},
	{"in a script that is stopped", nil, func(u *terminal) {
		u.enter("sh -c './run.sh; echo after $?'")
		u.awaitReady()
		u.press(ctrlZ)
		for pid := u.server(u.generation); pid != u.job(); pid = parent(pid) { // the shell looks at the script alone
			eventually(u.t, "the server has stopped, and who started it", func() bool { return state(pid) == "T" })
		}
		u.enter("fg")
		u.awaitTold("signal CONT", 1)
		u.press(ctrlBackslash)
		u.awaitTold("signal QUIT", 1)
		u.enter("echo $?")
	}},
	{"in a script that has put it into the background", nil, func(u *terminal) {
		u.enter("sh -c './run.sh & wait; echo after $?'")
		u.awaitReady()
		pid := u.server(u.generation)
		u.press(ctrlC) // which it ignores, and the script does not
		u.awaitPrompt()
		unix.Kill(pid, unix.SIGTERM)
		u.awaitTold("signal TERM", 1)
		u.enter("echo $?")
	}},
}

// TestTerminalIsAsIfTheShellHadStartedTheServer: whatever is typed, the server sees and
// the shell says what they would without flipexec.
func TestTerminalIsAsIfTheShellHadStartedTheServer(t *testing.T) {
	t.Parallel()
	for _, c := range sessions {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var transcripts []string
			for _, behind := range []bool{false, true} {
				u := openTerminal(t, newSite(t, c.env...), behind)
				c.do(u)
				transcripts = append(transcripts, u.transcript())
				u.hangUp()
			}
			if transcripts[0] != transcripts[1] {
				t.Errorf("directly:\n%s\nbehind flipexec:\n%s", transcripts[0], transcripts[1])
			}
		})
	}
}

// TestReloadInATerminal: the job of the shell goes on with the new server, to which all
// that is typed goes then.
func TestReloadInATerminal(t *testing.T) {
	t.Parallel()
	for _, shell := range [][]string{nil, {"dash", "-i"}} {
		t.Run(strings.Join(shell, " "), func(t *testing.T) {
			t.Parallel()
			u := openTerminal(t, newSite(t, "READ=ready"), true, shell...)
			u.enter("./run.sh")
			u.awaitReady()
			u.awaitReading(u.server("1"))
			u.mustReload()
			u.awaitTold("signal TERM", 1)
			u.screen.awaitText(t, "generation 1 gone", 1)
			u.awaitReading(u.server("2"))
			u.press("hello\n")
			u.awaitTold("read hello", 1)
			if got := strings.Count(u.screen.String(), prompt); got != 1 {
				t.Errorf("prompts: got %d, want 1", got)
			}
			u.press(ctrlZ)
			u.enter("fg")
			u.awaitReading(u.server("2"))
			u.press(ctrlC)
			u.enter("echo $?")
			u.screen.awaitText(t, "\n130\r\n", 1)
			u.awaitPrompt()
			if got := u.allTold(); strings.Count(got, "signal INT\n") != 1 || strings.Count(got, "signal TERM\n") != 1 {
				t.Errorf("the servers were told:\n%s", got)
			}
			u.hangUp()
		})
	}
}

// reloadWithPassphrase begins a reload whose server reads from the terminal before it is
// ready. The channel gets the exit status.
func (u *terminal) reloadWithPassphrase() <-chan int {
	u.t.Helper()
	done := make(chan int, 1)
	go func() {
		status, _ := u.reload("--", "env", "READ=start", "witness")
		done <- status
	}()
	u.awaitReading(u.server("2"))
	return done
}

// TestPassphraseOfAReload: the new server has the terminal before it is the server, and
// is stopped and continued with the job.
func TestPassphraseOfAReload(t *testing.T) {
	t.Parallel()
	u := openTerminal(t, newSite(t), true)
	u.enter("./run.sh")
	u.awaitReady()
	done := u.reloadWithPassphrase()
	u.press(ctrlZ)
	u.enter("fg")
	u.awaitReading(u.server("2"))
	u.press("sesame\n")
	u.awaitTold("read sesame", 1)
	if status := <-done; status != 0 {
		t.Errorf("flipexec reload: got status %d", status)
	}
	u.press(ctrlC)
	u.awaitPrompt()
	u.hangUp()
}

// TestFormerServerReturnsTheTerminal: it wants to read once more before it ends, while the
// current one waits for what is typed.
func TestFormerServerReturnsTheTerminal(t *testing.T) {
	t.Parallel()
	u := openTerminal(t, newSite(t, "READ=end"), true)
	u.enter("./run.sh")
	u.awaitReady()
	done := u.reloadWithPassphrase()
	u.press("sesame\n")
	if status := <-done; status != 0 {
		t.Errorf("flipexec reload: got status %d", status)
	}
	u.screen.awaitText(t, "generation 1 gone", 1)
	u.awaitReading(u.server("2"))
	u.press("hello\n")
	u.awaitTold("read hello", 1)
	u.press(ctrlC)
	u.awaitPrompt()
	u.hangUp()
}

// TestHangUpEndsTheServer, and is not taken for the SIGHUP that reloads.
func TestHangUpEndsTheServer(t *testing.T) {
	t.Parallel()
	for _, shell := range [][]string{{"bash", "--norc", "-i"}, {"dash", "-i"}} {
		for _, line := range []string{"./run.sh", "./run.sh &", "sh -c './run.sh; :'"} {
			if shell[0] == "dash" && strings.HasSuffix(line, "&") {
				continue // it leaves that to itself
			}
			t.Run(shell[0]+" "+line, func(t *testing.T) {
				t.Parallel()
				u := openTerminal(t, newSite(t), true, shell...)
				u.enter(line)
				u.awaitReady()
				if strings.HasSuffix(line, "&") {
					u.awaitPrompt()
				}
				u.hangUp()
				if got := u.allTold(); strings.Contains(got, "generation 2") || !strings.Contains(got, "signal HUP\n") {
					t.Errorf("the servers told:\n%s", got)
				}
			})
		}
	}
}

// TestHangUpDuringAReload ends both servers.
func TestHangUpDuringAReload(t *testing.T) {
	t.Parallel()
	u := openTerminal(t, newSite(t), true)
	u.enter("./run.sh")
	u.awaitReady()
	done := make(chan int)
	go func() {
		status, _ := u.reload("--", "env", "HANG=1", "witness")
		done <- status
	}()
	u.server("2")
	u.master.Close()
	if status := <-done; status != 1 {
		t.Errorf("flipexec reload: got status %d, want 1", status)
	}
	u.hangUp()
}

// TestNohup: what ignores a hang-up survives it, and ends as ever.
func TestNohup(t *testing.T) {
	t.Parallel()
	u := openTerminal(t, newSite(t), true)
	u.enter("nohup ./run.sh >out 2>&1 &")
	u.awaitTold("ready", 1)
	pid := u.job()
	u.awaitPrompt()
	u.master.Close()
	u.shell.Wait() // its status is nobody's business
	u.mustReload()
	u.server("2")
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	u.awaitNothing()
	if got := u.allTold(); strings.Contains(got, "signal HUP") {
		t.Errorf("the servers told:\n%s", got)
	}
}

// TestTerminalWithoutAShell is that of a container: there is nobody to whom a stopped
// server could be left.
func TestTerminalWithoutAShell(t *testing.T) {
	t.Parallel()
	u := openTerminal(t, newSite(t, "READ=ready"), true, "./run.sh")
	u.awaitReady()
	u.awaitReading(u.server("1"))
	u.press("hello\n")
	u.awaitTold("read hello", 1)
	before := strings.Count(u.told.String(), "signal CONT\n")
	u.press(ctrlZ)
	u.awaitTold("signal CONT", before+1)
	u.press("again\n")
	u.awaitTold("read again", 1)
	u.press(ctrlC)
	u.shell.Wait()
	if got := u.shell.ProcessState.String(); got != "signal: interrupt" {
		t.Errorf("flipexec: got %s, want signal: interrupt", got)
	}
	u.awaitNothing()
}

// TestDetachLetsTheTerminalGo: the shell is back at once, the server has a session of
// its own, and no hang-up reaches it. A reload by hand keeps its standard descriptors.
func TestDetachLetsTheTerminalGo(t *testing.T) {
	t.Parallel()
	u := openTerminal(t, newSite(t), true)
	u.enter("flipexec --detach --pid-file $PWD/pid -- witness </dev/null >out 2>&1")
	u.enter("echo $?")
	u.screen.awaitText(t, "\n0\r\n", 1)
	u.enter("flipexec reload >/dev/null 2>reloaded; echo $?")
	u.screen.awaitText(t, "\n0\r\n", 2)
	pid := u.server("2")
	for fd, want := range map[string]string{"0": "/dev/null", "1": u.dir + "/out", "2": u.dir + "/out"} {
		if got, err := os.Readlink(proc(pid, "fd/"+fd)); got != want {
			t.Errorf("descriptor %s: got %s, %v, want %s", fd, got, err, want)
		}
	}
	if sid, err := unix.Getsid(pid); sid != pid {
		t.Errorf("session: got %d, %v, want its own, %d", sid, err, pid)
	}
	u.master.Close()
	u.shell.Wait() // its status is nobody's business
	eventually(t, "generation 1 has left", func() bool { return state(u.server("1")) == "" })
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	u.awaitNothing()
	if got := u.allTold(); strings.Contains(got, "signal HUP") {
		t.Errorf("the servers told:\n%s", got)
	}
}
