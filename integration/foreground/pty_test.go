//go:build linux

package foreground_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// prompt is the shell's.
const prompt = "ready> "

// What is typed.
const (
	ctrlC         = "\x03"
	ctrlZ         = "\x1a"
	ctrlBackslash = "\x1c"
)

// A terminal has an interactive shell in it, in which ./run is the server, directly or
// behind flipexec.
type terminal struct {
	*site
	behind     bool
	master     *os.File
	screen     *record
	prompts    int // that were there when something was typed last
	shell      *exec.Cmd
	generation string // of the first server
}

// openTerminal starts the shell.
func openTerminal(t *testing.T, s *site, behind bool, shell ...string) *terminal {
	t.Helper()
	u := &terminal{site: s, behind: behind, screen: newRecord()}
	run := "#!/bin/sh\nexec witness\n"
	if behind {
		u.generation, run = "1", "#!/bin/sh\nexec flipexec --name web -- witness\n"
	}
	if err := os.WriteFile(s.dir+"/run.sh", []byte(run), 0o700); err != nil {
		t.Fatal(err)
	}
	slave := u.openPair()
	defer slave.Close()
	if len(shell) == 0 {
		shell = []string{"bash", "--norc", "--noprofile", "--noediting", "-i"}
	}
	u.shell, _ = s.command(shell...)
	u.shell.Stdin, u.shell.Stdout, u.shell.Stderr = slave, slave, slave
	u.shell.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := u.shell.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		var buf [4096]byte
		for {
			n, err := u.master.Read(buf[:])
			u.screen.Write(buf[:n])
			if err != nil { // EIO: nobody has it any more
				return
			}
		}
	}()
	t.Cleanup(func() {
		u.master.Close()
		u.shell.Process.Kill()
		u.shell.Wait()
		if t.Failed() {
			t.Logf("the terminal showed:\n%s", u.screen)
		}
	})
	return u
}

// openPair opens both ends of a pseudoterminal, pts(4).
func (u *terminal) openPair() (slave *os.File) {
	u.t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err == nil {
		u.master = os.NewFile(uintptr(fd), "ptmx")
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	number := 0
	if err == nil {
		number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		u.t.Fatal(err)
	}
	return slave
}

// press types keys.
func (u *terminal) press(keys string) {
	u.t.Helper()
	u.prompts = strings.Count(u.screen.String(), prompt)
	if _, err := u.master.WriteString(keys); err != nil {
		u.t.Fatal(err)
	}
}

// enter types a line once the shell asks for one.
func (u *terminal) enter(line string) {
	u.t.Helper()
	u.awaitPrompt()
	u.press(line + "\n")
}

// awaitPrompt waits until the shell asks for a line.
func (u *terminal) awaitPrompt() {
	u.t.Helper()
	u.screen.await(u.t, "a prompt", func(text string) bool {
		return strings.Count(text, prompt) > u.prompts && strings.HasSuffix(flipexecLine.ReplaceAllString(text, ""), prompt)
	})
}

// awaitReady waits until the server is there, and flipexec is done with the start.
func (u *terminal) awaitReady() {
	u.t.Helper()
	u.awaitTold("ready", 1)
	if u.behind {
		u.screen.await(u.t, "the line that says that generation 1 is current", currentLine.MatchString)
	}
}

// currentLine is a whole line: the echo of a key that is pressed before its end stands in it.
var currentLine = regexp.MustCompile(`generation 1 current pid=[0-9]+\r?\n`)

// awaitReading waits until a server has the terminal.
func (u *terminal) awaitReading(pid int) {
	u.t.Helper()
	eventually(u.t, fmt.Sprintf("the terminal is process group %d's", pid), func() bool { return u.group() == pid })
}

// group is the process group in front.
func (u *terminal) group() int {
	group := 0
	raw, err := u.master.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { group, err = unix.IoctlGetInt(int(fd), unix.TIOCGPGRP) })
	}
	if err != nil {
		u.t.Fatal(err)
	}
	return group
}

// job is the process that the shell started.
func (u *terminal) job() int {
	all := children(u.t, u.shell.Process.Pid)
	if len(all) == 0 {
		u.t.Fatal("the shell has no job")
	}
	return all[0]
}

var (
	flipexecLine = regexp.MustCompile(`flipexec: [^\n]*\n`)
	jobPID       = regexp.MustCompile(`(?m)^(.*\[\d+\] )\d+`)
	startLine    = regexp.MustCompile(`generation \d* is \d+\n|signal CONT\n`)
)

// transcript is all that the shell and the server said but what is different by nature:
// our lines, process IDs, and how often a server was continued.
func (u *terminal) transcript() string {
	u.t.Helper()
	u.awaitPrompt()
	shown := jobPID.ReplaceAllString(flipexecLine.ReplaceAllString(u.screen.String(), ""), "${1}PID")
	return shown + "\n--- and the server:\n" + startLine.ReplaceAllString(u.allTold(), "")
}

// resize makes the window larger.
func (u *terminal) resize(rows, columns uint16) {
	u.t.Helper()
	raw, err := u.master.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) {
			err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
		})
	}
	if err != nil {
		u.t.Fatal(err)
	}
}

// hangUp closes the terminal's window, and waits for the end of everything in it.
func (u *terminal) hangUp() {
	u.t.Helper()
	u.master.Close()
	u.shell.Wait() // its status is nobody's business
	u.awaitNothing()
}
