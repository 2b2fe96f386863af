package handoff

import (
	"os"
	"runtime"
	"slices"
	"time"
	"unsafe"

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

// setTerminalGroup is tcsetpgrp(3).
func setTerminalGroup(group int) error {
	fd, err := openTerminal()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unstopped(func() error { return unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, group) })
}

// unstopped does something for which a terminal would stop us in the background, or have
// us try for ever if SIGTTOU is caught. It does not where that is blocked, tcsetpgrp(3).
func unstopped(do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	block, before := unix.Sigset_t{}, unix.Sigset_t{}
	block.Val[0] = 1 << (unix.SIGTTOU - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, &before); err != nil {
		return err
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	return do()
}

// hungUp reports whether a SIGHUP tells of the terminal's end: two may do so, of the
// shell and of the kernel.
func (f *foreground) hungUp() bool {
	if f.terminal && !hasTerminal() {
		f.terminal, f.hangup = false, time.Now()
	}
	return time.Since(f.hangup) < second
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
	f.forgetAsleep(pid)
	wants := sig == unix.SIGTTIN || sig == unix.SIGTTOU
	if wants && f.inFront() && setTerminalGroup(group) == nil {
		if f.lent != 0 && !f.serves(pid) { // or it could not finish
			f.owed = f.lent
		}
		f.lent = group
		unix.Kill(-group, unix.SIGCONT)
		return
	}
	f.asleep = append(f.asleep, pid)
	if wants || f.serves(pid) && (sig == unix.SIGTSTP || sig == unix.SIGSTOP && f.inFront()) {
		f.suspend(sig)
	}
}

func (f *foreground) forgetAsleep(pid int) {
	f.asleep = slices.DeleteFunc(f.asleep, func(p int) bool { return p == pid })
}

// serves tells a server, also one that starts, from who only finishes or is ours.
func (f *foreground) serves(pid int) bool {
	former := slices.ContainsFunc(f.former, func(p process) bool { return p.pid == pid })
	return !former && (f.launch == nil || pid != f.launch.pid) && !isKeeper(pid)
}

// wake continues those that were stopped, with their groups.
func (f *foreground) wake() {
	for _, pid := range f.asleep {
		if group := childGroup(pid); group != 0 {
			unix.Kill(-group, unix.SIGCONT) // best effort
		}
	}
	f.asleep = nil
}

// inFront reports whether the terminal is ours to lend, or lent by us.
func (f *foreground) inFront() bool {
	group := terminalGroup()
	return group == unix.Getpgrp() || group != 0 && group == f.lent
}

// suspend stops us as the terminal would have, until somebody continues us.
func (f *foreground) suspend(sig unix.Signal) {
	switch {
	case orphanedGroup() && (sig == unix.SIGTTIN || sig == unix.SIGTTOU):
		// read(2) would fail, had the server no parent in its session. To
		// continue it would be to have it stopped again at once.
		f.complain("stopped", "the server wants the terminal, and no shell is there to give it; it stays stopped")
	case orphanedGroup():
		f.signalled(unix.SIGCONT)
	case sig == unix.SIGSTOP, sig == unix.SIGTSTP && f.lent == 0:
		raise(sig, os.Getpid()) // the others in our group got the same, or are not meant
	default:
		raise(sig, 0)
	}
}

// raise sends a signal to us, or with 0 to our process group, and has it do what it does
// to who does not catch it: the shell is told by which signal that was.
func raise(sig unix.Signal, pid int) {
	var standard, ours [8]uintptr // more than a struct sigaction on every machine; SIG_DFL is 0
	changed := setAction(sig, &standard, &ours)
	unix.Kill(pid, sig)
	if changed {
		setAction(sig, &ours, nil)
	}
}

// setAction is sigaction(2), which the runtime keeps to itself: os/signal can undo what
// it did only for signals that do not stop a process.
func setAction(sig unix.Signal, action, before *[8]uintptr) bool {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(action)), uintptr(unsafe.Pointer(before)), 8, 0, 0)
	return errno == 0
}

// noteTyped notes that the first server was ended from the terminal while it had that:
// we have not got the signal.
func (f *foreground) noteTyped(ws unix.WaitStatus) {
	if f.main.pid == 0 && ws.Signaled() && (ws.Signal() == unix.SIGINT || ws.Signal() == unix.SIGQUIT) {
		f.stopped = ws.Signal()
	}
}

// dieLike ends us as the server ended if a signal did it and there is a terminal. A
// shell looks closer then than at an exit status: it tells of the signal, and a script
// ends with Ctrl-C.
func (f *foreground) dieLike(ws unix.WaitStatus) {
	if !f.terminal || !ws.Signaled() {
		return
	}
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // best effort: a core would be ours
	raise(ws.Signal(), os.Getpid())              // has no effect on process 1
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
// replaced. If that had it from the current one, it goes back there: who waits in read(2)
// already is not stopped when the terminal becomes another's, and would not ask again.
func (f *foreground) reclaimTerminal() {
	lent, owed := f.lent, f.owed
	f.lent, f.owed = 0, 0
	if lent == 0 || terminalGroup() != lent {
		return
	}
	if owed != 0 && setTerminalGroup(owed) == nil {
		f.lent = owed
		return
	}
	setTerminalGroup(unix.Getpgrp()) // best effort: there may be none any more
}
