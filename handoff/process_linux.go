package handoff

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is held by a pidfd, so that a signal never hits another process that
// was given the same number. It owns the descriptor.
type process struct {
	pid int
	fd  int
}

// self is the file that runs: what the launcher found on disk, for all the
// processes of its generation, even if the file is replaced meanwhile.
const self = "/proc/self/exe"

// spawn starts this program in the role argv[0] as a sibling: CLONE_PARENT makes it a child of our own
// parent, the manager, whose wait(2), Restart= and stop timeout then work on it
// (a server that a launcher forked would be "not our child" for systemd, and
// killed at once by a stop). The new process gets exactly files, from descriptor 0
// on, and keeps its terminal if it may have one.
func spawn(argv, env []string, files []int, detach bool) (process, error) {
	return clone(self, argv, env, files, unix.CLONE_PARENT, detach || !hasTerminal() || leadsSession())
}

// clone starts a program with a session or, to keep the terminal, a process group of
// its own. It is a plain clone(2), because RestrictNamespaces= answers clone3(2) with
// ENOSYS.
func clone(path string, argv, env []string, files []int, flags uintptr, newSession bool) (process, error) {
	handles := make([]uintptr, len(files))
	for i, fd := range files {
		handles[i] = uintptr(fd)
	}
	p := process{fd: -1}
	attr := &syscall.ProcAttr{Env: env, Files: handles, Sys: &syscall.SysProcAttr{
		Cloneflags: flags,
		Setsid:     newSession,
		Setpgid:    !newSession,
		PidFD:      &p.fd,
	}}
	var err error
	if p.pid, _, err = syscall.StartProcess(path, argv, attr); err != nil {
		return process{}, fmt.Errorf("start %s: %w", argv[0], err)
	}
	if p.fd < 0 {
		return process{}, fmt.Errorf("start %s: no pidfd; hint: Linux 5.3 or later is needed", argv[0])
	}
	return p, nil
}

// openParent holds the manager, unless it is process 1, whose end nobody sees, or a
// process outside of our PID namespace.
func openParent() (process, bool) {
	pid := os.Getppid()
	if pid <= 1 {
		return process{}, false
	}
	p, err := open(pid)
	if err != nil {
		return process{}, false
	}
	if os.Getppid() != pid { // it died before we held it, and the number may be another's
		p.close()
		return process{}, false
	}
	return p, true
}

// open holds a process that somebody else started.
func open(pid int) (process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return process{}, os.NewSyscallError("pidfd_open", err)
	}
	return process{pid, fd}, nil
}

// signal sends sig; a process that is gone already is no error.
func (p process) signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(p.fd, sig, nil, 0)
	if err != nil && err != unix.ESRCH {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	return nil
}

// awaitExit waits until the process has exited, or until deadline.
func (p process) awaitExit(deadline time.Time) {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	for left := time.Until(deadline); left > 0; left = time.Until(deadline) {
		if n, err := unix.Poll(fds, int(left.Milliseconds())+1); n > 0 || err != nil && err != unix.EINTR {
			return
		}
	}
}

// running reports whether the process has not exited.
func (p process) running() bool {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err != nil || n == 0
}

// dead reports whether the process has ended for systemd, which looks at the state
// of its first thread (pidref_is_alive and pid_is_unwaited, src/basic): that is a
// zombie a moment before the pidfd tells of the end of the last thread.
func (p process) dead() bool {
	st, err := readStat(p.pid)
	return !p.running() || err == nil && st.state == 'Z'
}

// fate says how an exited process ended.
func (p process) fate() string {
	if ws, ok := p.exitStatus(); ok {
		return describeStatus(ws)
	}
	return "exited"
}

// exitStatus is how an exited process ended, as far as the kernel tells somebody who
// is not its parent: since Linux 6.15 once the parent has waited for it
// (PIDFD_INFO_EXIT), and before, as long as it has not, by /proc/PID/stat.
func (p process) exitStatus() (ws unix.WaitStatus, ok bool) {
	if ws, ok := p.reapedStatus(); ok {
		return ws, true
	}
	st, err := readStat(p.pid)
	return unix.WaitStatus(st.exitCode), err == nil && st.state == 'Z' && st.exitCode != 0
}

// reapedStatus waits a little for the parent to be told.
func (p process) reapedStatus() (ws unix.WaitStatus, ok bool) {
	for deadline := time.Now().Add(reapTime * time.Millisecond); time.Now().Before(deadline); {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		if unix.IoctlPidfdInfo(p.fd, &info) != nil {
			return 0, false
		}
		if info.Mask&unix.PIDFD_INFO_EXIT != 0 {
			return unix.WaitStatus(info.Exit_code), true
		}
		reaped := []unix.PollFd{{Fd: int32(p.fd)}} // POLLHUP
		if n, err := unix.Poll(reaped, timeout([]time.Time{deadline})); err != nil && err != unix.EINTR || n == 0 {
			break
		}
	}
	return 0, false
}

// reapTime bounds the wait for a process to be reaped, in milliseconds.
const reapTime = 100

func describeStatus(ws unix.WaitStatus) string {
	if ws.Signaled() {
		return "killed by signal " + signalName(ws.Signal())
	}
	return fmt.Sprintf("exited with status %d", ws.ExitStatus())
}

// closeExited closes the process if it has exited, and reports whether it has.
func closeExited(p process) bool {
	if p.running() {
		return false
	}
	p.close()
	return true
}

func (p process) close() {
	if p.pid != 0 {
		unix.Close(p.fd)
	}
}

// closeOnExecAll keeps descriptors that this process was given, knowingly or not,
// from going on to the next program.
func closeOnExecAll() {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	entries, err := os.ReadDir("/proc/self/fd") // before Linux 5.11, or forbidden by an old seccomp filter
	if err != nil {
		return
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}
