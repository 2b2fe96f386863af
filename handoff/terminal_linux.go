package handoff

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A terminal stays with the process group that the shell made for us, and the servers
// have groups of their own: what is typed reaches us, and each server gets it once. A
// server that reads is stopped by the kernel, and is given the terminal then.

// openTerminal opens the controlling terminal.
func openTerminal() (int, error) {
	return unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
}

// hasTerminal reports whether there is one that has not hung up.
func hasTerminal() bool {
	fd, err := openTerminal()
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// leadsSession reports whether the session, and the terminal with it, ends with us.
func leadsSession() bool {
	sid, err := unix.Getsid(0)
	return err == nil && sid == os.Getpid()
}

// terminalGroup is the process group in the foreground of the terminal, 0 if unknown.
func terminalGroup() int {
	fd, err := openTerminal()
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	if err != nil {
		return 0
	}
	return group
}

// setTerminalGroup is tcsetpgrp(3), which would stop us in the background if SIGTTOU
// was not blocked.
func setTerminalGroup(group int) error {
	fd, err := openTerminal()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	block, before := unix.Sigset_t{}, unix.Sigset_t{}
	block.Val[0] = 1 << (unix.SIGTTOU - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, &before); err != nil {
		return err
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	return unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, group)
}

// lostTerminal reports once that the terminal has hung up.
func (f *foreground) lostTerminal() bool {
	if !f.terminal || hasTerminal() {
		return false
	}
	f.terminal = false
	return true
}

// fromTerminal reports whether a signal was typed, or tells of the terminal: as far as
// can be seen, because the sender of a signal does not show. It decides between the
// server and its process group.
func (f *foreground) fromTerminal(sig unix.Signal) bool {
	switch sig {
	case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGWINCH:
		return f.terminal && terminalGroup() == unix.Getpgrp()
	case unix.SIGCONT: // from a shell's fg or bg
		return f.terminal
	case unix.SIGHUP:
		return true
	}
	return false
}

// childGroup is the process group of a child, 0 if it is none of ours or in our own
// group. Its number is nobody else's as long as we have not waited for it.
func childGroup(pid int) int {
	st, err := readStat(pid)
	if err != nil || st.parent != os.Getpid() {
		return 0
	}
	group, err := unix.Getpgid(pid)
	if err != nil || group == unix.Getpgrp() {
		return 0
	}
	return group
}

// childStopped gives the terminal to a server that wants it, and stops with one that
// was stopped from it, so that the shell has its turn.
func (f *foreground) childStopped(pid int, sig unix.Signal) {
	group := childGroup(pid)
	if !f.terminal || group == 0 {
		return
	}
	switch sig {
	case unix.SIGTTIN, unix.SIGTTOU:
		if now := terminalGroup(); now != unix.Getpgrp() && now != f.lent {
			f.suspend(sig) // we are in the background as well
		} else if setTerminalGroup(group) == nil {
			f.lent = group
			unix.Kill(-group, unix.SIGCONT)
		}
	case unix.SIGTSTP:
		if pid == f.main.pid {
			f.suspend(sig)
		}
	}
}

// suspend stops us as the terminal would have, until somebody continues us.
func (f *foreground) suspend(sig unix.Signal) {
	switch {
	case orphanedGroup():
		f.forward(unix.SIGCONT) // there is no shell that would
	case sig == unix.SIGTSTP && f.lent == 0:
		unix.Kill(os.Getpid(), unix.SIGSTOP) // the others in our group got the same
	default:
		unix.Kill(0, unix.SIGSTOP)
	}
}

// orphanedGroup reports whether nobody is there to continue our process group: the
// kernel would not stop it then, credentials(7).
func orphanedGroup() bool {
	own, err := unix.Getsid(0)
	pid := os.Getppid()
	for err == nil && pid > 0 {
		group, gerr := unix.Getpgid(pid)
		if gerr == nil && group != unix.Getpgrp() {
			sid, serr := unix.Getsid(pid)
			return serr != nil || sid != own
		}
		st, serr := readStat(pid)
		pid, err = st.parent, serr
	}
	return true
}

// reclaimTerminal takes the terminal back from a server that has left or been
// replaced.
func (f *foreground) reclaimTerminal() {
	if f.lent == 0 {
		return
	}
	if terminalGroup() == f.lent {
		setTerminalGroup(unix.Getpgrp()) // best effort: there may be none any more
	}
	f.lent = 0
}
