package handoff

import (
	"os"
	"os/signal"
	"slices"

	"golang.org/x/sys/unix"
)

// unheard are the signals that a foreground process leaves alone: those that cannot be
// caught, those that tell of our own faults or are the Go runtime's and libc's (34 is
// SIGRTMIN, and ends us), and those by which a terminal stops who uses it in the
// background.
var unheard = map[unix.Signal]bool{
	unix.SIGKILL: true, unix.SIGSTOP: true,
	unix.SIGSEGV: true, unix.SIGBUS: true, unix.SIGFPE: true, unix.SIGILL: true, unix.SIGTRAP: true, unix.SIGSYS: true,
	unix.SIGURG: true, unix.SIGPROF: true, 32: true, 33: true, 34: true,
	unix.SIGTTIN: true, unix.SIGTTOU: true,
}

// catchSignals returns a descriptor from which each signal can be read as a byte. What
// we were started with ignored, as nohup(1) does, stays ignored, also in the server.
func catchSignals() (fd int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, os.NewSyscallError("pipe2", err)
	}
	var caught []os.Signal
	for sig := unix.Signal(1); sig <= 64; sig++ {
		if !unheard[sig] && sig != unix.SIGCHLD && !signal.Ignored(sig) {
			caught = append(caught, sig)
		}
	}
	if inBackground() {
		signal.Ignore(unix.SIGQUIT)
		caught = slices.DeleteFunc(caught, func(s os.Signal) bool { return s == unix.SIGQUIT })
	}
	// Apart, because a thousand children at once must not displace a SIGTERM.
	children, others := make(chan os.Signal, 1), make(chan os.Signal, 256)
	signal.Notify(children, unix.SIGCHLD)
	signal.Notify(others, caught...)
	for _, c := range []chan os.Signal{children, others} {
		go func() {
			for sig := range c {
				unix.Write(p[1], []byte{byte(sig.(unix.Signal))})
			}
		}()
	}
	return p[0], nil
}

// inBackground reports whether a shell without job control started us with "&": it has
// SIGINT and SIGQUIT ignored then, of which the runtime lets us see the first only.
func inBackground() bool { return signal.Ignored(unix.SIGINT) }

func (f *foreground) readSignals() {
	var buf [64]byte
	n, err := unix.Read(f.signals, buf[:])
	if err != nil {
		return
	}
	for _, sig := range buf[:n] {
		f.signalled(unix.Signal(sig))
	}
}

// signalled does what a signal to us asks for.
func (f *foreground) signalled(sig unix.Signal) {
	switch sig {
	case unix.SIGCHLD:
		f.reap()
	case unix.SIGPIPE: // nobody reads what we say
	case unix.SIGHUP:
		if f.hungUp() {
			f.end(sig)
		} else {
			f.reloadBySignal()
		}
	case unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, f.stop:
		f.end(sig)
	case unix.SIGCONT:
		asleep := slices.Contains(f.asleep, f.server().pid)
		if f.wake(); !asleep { // or it would get it twice
			f.forward(sig)
		}
	default:
		f.forward(sig)
	}
}

// end does what is asked of us by a signal that ends a server.
func (f *foreground) end(sig unix.Signal) {
	f.hear(maxQueue)
	if f.again = false; f.launch != nil {
		f.stopped = sig
		f.launch.signal(unix.SIGTERM) // and its keeper ends what it has started
		f.launch.signal(unix.SIGCONT) // should it be stopped
	}
	if f.main.pid != 0 {
		f.forward(sig)
	}
}

// forward gives a signal to the server, as long as there is none to the first one that
// starts, and at the end to those that still finish.
func (f *foreground) forward(sig unix.Signal) {
	if s := f.server(); s.pid != 0 {
		f.send(s, sig)
		return
	}
	for _, p := range f.former {
		f.send(p, sig)
	}
}

// server is the current one, or the first while that starts; none at the end.
func (f *foreground) server() process {
	switch {
	case f.main.pid != 0 && !f.exited:
		return f.main
	case f.main.pid == 0 && f.launch != nil:
		return f.launch.server
	}
	return process{}
}

// send signals one process, or its whole group if the signal comes from the terminal
// and would have reached that, had the shell started it.
func (f *foreground) send(p process, sig unix.Signal) {
	if !p.running() {
		return
	}
	if f.fromTerminal(sig) {
		if group := childGroup(p.pid); group != 0 {
			unix.Kill(-group, sig) // best effort
			return
		}
	}
	p.signal(sig) // best effort: it may have left
}
