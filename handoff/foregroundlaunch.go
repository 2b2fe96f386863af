package handoff

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// startLauncher starts the next generation, or the first.
func (f *foreground) startLauncher(args []string, requester *channel) error {
	ours, theirs, err := newChannelPair()
	if err != nil {
		return err
	}
	defer theirs.close()
	files := []int{0, 1, 2}
	for _, s := range f.inherited {
		files = append(files, s.FD)
	}
	env := append(f.launcherEnviron(), reportVariable+"="+strconv.Itoa(len(files)))
	files = append(files, theirs.fd)
	argv := append([]string{"flipexec"}, args...)
	p, err := clone(f.program, argv, env, files, 0, !f.terminal)
	if err != nil { // a new version is just being put there
		p, err = clone(self, argv, env, files, 0, !f.terminal)
	}
	if err != nil {
		ours.close()
		return err
	}
	f.launch = &launch{process: p, channel: ours, requester: requester}
	return nil
}

// launcherEnviron is the environment of a launcher: ours, as systemd would have made
// it for a process of the unit.
func (f *foreground) launcherEnviron() []string {
	env := without(f.env, "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "SYSTEMD_EXEC_PID", "MAINPID", "MAINPIDFDID",
		"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "FDSTORE", reportVariable, directoryVariable)
	env = append(env, "NOTIFY_SOCKET="+f.socket.Path(), directoryVariable+"="+f.run)
	if has(f.env, "SYSTEMD_EXEC_PID") {
		env = append(env, "SYSTEMD_EXEC_PID=")
	}
	if f.main.pid != 0 {
		return append(env, "MAINPID="+strconv.Itoa(f.main.pid))
	}
	if usec := watchdog(f.env, unix.Getpid()); usec != "" {
		env = append(env, "WATCHDOG_USEC="+usec)
	}
	if len(f.inherited) > 0 {
		env = append(append(env, "LISTEN_PID="), activation.Environ(f.inherited)...)
	}
	return env
}

// readPeer serves a request for a handoff.
func (f *foreground) readPeer(p *channel) {
	m, ok := f.readRequest(p, maxHandoff)
	if !ok {
		return
	}
	f.forgetPeer(p)
	if err := f.refuse(m); err != nil {
		r := message{kind: msgRefused}
		spoken.appendTo(&r)
		r.add("reason", err.Error())
		r.add("code", strconv.Itoa(ExitCode(err)))
		p.send(r) // best effort
		p.close()
		return
	}
	args := []string{"reload"}
	for _, field := range m.fields {
		if field.key == "argument" {
			args = append(args, field.value)
		}
	}
	// A manager that asks us knows that we reload.
	if err := f.reload(args, p, m.get("manager") != "true"); err != nil {
		answer(p, ExitFailed, err.Error())
	}
}

// refuse is why a request cannot be served, nil if it can.
func (f *foreground) refuse(m message) error {
	theirs, err := versionsFrom(m)
	if err == nil {
		err = agree(spoken, theirs)
	}
	switch {
	case m.kind != msgHandoff:
		return fmt.Errorf("unknown request %q", m.kind)
	case err != nil:
		return err
	case f.leaving || f.exited:
		return &Error{ExitNotRunning, errors.New("the server has ended")}
	case f.launch != nil && f.main.pid == 0:
		return &Error{ExitBusy, errors.New("generation 1 is still starting")}
	case f.launch != nil:
		return &Error{ExitBusy, errors.New("another handoff is under way")}
	}
	return nil
}

// reload starts a handoff.
func (f *foreground) reload(args []string, requester *channel, tell bool) error {
	if tell {
		f.tellReloading()
	}
	if err := f.startLauncher(args, requester); err != nil {
		f.tellReloaded(err.Error())
		return err
	}
	return nil
}

// reloadBySignal is what SIGHUP asks for: once more after a handoff that is under way,
// which may have read the old configuration already.
func (f *foreground) reloadBySignal() {
	if f.launch != nil {
		f.again = true
		return
	}
	if f.leaving || f.exited {
		return
	}
	if err := f.reload([]string{"reload"}, nil, true); err != nil {
		say("reload: %v", err)
	}
}

// readLaunch passes on what the launcher reports.
func (f *foreground) readLaunch() {
	m, err := f.launch.channel.receive()
	m.close()
	switch {
	case err != nil:
		f.launch.channel.close()
		f.launch.channel = nil
	case m.kind == msgResult:
		f.launch.reason = m.get("text")
	case m.kind == msgProgress:
		f.launch.noteServer(m.get("server"))
		if f.launch.requester != nil && f.launch.requester.send(m) != nil {
			f.loseRequester()
		}
	}
}

// noteServer holds the server that starts, if it is still there: a child of ours.
func (l *launch) noteServer(text string) {
	pid, err := number(text)
	if err != nil || l.server.pid != 0 {
		return
	}
	p, err := open(pid)
	if err != nil {
		return
	}
	if st, err := readStat(pid); err != nil || st.parent != os.Getpid() {
		p.close()
		return
	}
	l.server = p
}

// loseRequester goes on without it: a handoff is not undone because nobody watches.
func (f *foreground) loseRequester() {
	f.launch.requester.close()
	f.launch.requester = nil
}

// launcherExited ends a handoff, whatever came of it.
func (f *foreground) launcherExited(ws unix.WaitStatus) {
	for f.launch.channel != nil { // until it hangs up, which it has
		f.readLaunch()
	}
	l, stopped := f.launch, f.stopped
	f.launch, f.stopped = nil, 0
	l.close()
	l.server.close()
	switch {
	case ws == 0 || l.reason != "":
	case stopped != 0:
		l.reason = "flipexec was told to end by signal " + signalName(stopped)
	default:
		l.reason = "its launcher " + describeStatus(ws)
	}
	if l.requester != nil {
		code := ExitFailed
		if ws.Exited() {
			code = ws.ExitStatus()
		}
		answer(l.requester, code, l.reason)
	}
	f.tellReloaded(l.reason)
	switch {
	case f.main.pid == 0 && stopped != 0:
		f.leave(unix.WaitStatus(stopped)) // as if the server had been there to get it
	case f.main.pid == 0:
		f.leave(ws)
	case f.exited:
		f.leave(f.status)
	case f.again:
		f.again = false
		f.reloadBySignal()
	default:
		releaseHeap()
		releaseText()
	}
}

// answer tells a requester how it went, and lets go of it.
func answer(requester *channel, code int, reason string) {
	m := message{kind: msgResult}
	m.add("code", strconv.Itoa(code))
	m.add("text", reason)
	requester.send(m) // best effort
	requester.close()
}

// exited is the status of a process that exits with a code.
func exited(code int) unix.WaitStatus { return unix.WaitStatus(code << 8) }

// exitCode is what a shell calls a status.
func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
