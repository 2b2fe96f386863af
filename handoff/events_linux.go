package handoff

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A source is a descriptor to wait for and what to do once it is readable or
// hung up.
type source struct {
	fd     int
	ready  func()
	open   bool // strangers can make it ready, as often as they like
	hangup bool // it is not to be read
}

// sources are listed in the order in which they are served. What a server says
// comes before its exit, as in systemd, unless there is no end to it.
func (k *keeper) sources() []source {
	var s []source
	add := func(fd int, ready func()) { s = append(s, source{fd: fd, ready: ready}) }
	if k.stageFD >= 0 {
		add(k.stageFD, k.readStage)
	}
	if k.notifyPath != nil && !k.heard {
		add(k.notifyPath.socket.FD(), k.receiveNotifications)
	}
	if k.main.pid != 0 && !k.exited {
		add(k.main.fd, k.mainExited)
	}
	for _, p := range k.rest {
		add(p.fd, k.awaitRest)
	}
	if k.launcher != nil {
		add(k.launcher.fd, k.readLauncher)
	}
	if k.parent.pid != 0 {
		add(k.parent.fd, k.parentExited)
	}
	for _, p := range k.Older {
		switch {
		case !p.ours:
		case p.keeper != nil:
			add(p.keeper.fd, func() { k.readPredecessor(p) })
		default:
			add(p.server.fd, func() { k.forget(p) })
		}
	}
	if k.successor != nil {
		add(k.successor.fd, k.readSuccessor)
	}
	addOpen := func(fd int, ready func()) { s = append(s, source{fd: fd, ready: ready, open: true}) }
	for _, c := range k.peers {
		addOpen(c.fd, func() { k.readPeer(c) })
	}
	if k.answers() && k.deafUntil.IsZero() {
		addOpen(k.Control.FD, func() { k.acceptPeer(k.Control.FD) })
	}
	if k.guard.inotify > 0 {
		addOpen(k.guard.inotify, k.filesChanged)
	}
	if k.notifyPath != nil {
		addOpen(k.notifyPath.store.FD(), k.receiveOwn)
	}
	if k.notifyPath != nil && k.heard {
		addOpen(k.notifyPath.socket.FD(), k.receiveNotifications)
	}
	for _, d := range k.Own {
		if d.poll {
			s = append(s, source{fd: d.fd, ready: k.dropHungUp, open: true, hangup: true})
		}
	}
	return s
}

// poll waits for sources, or for the first of the deadlines that are not zero, and
// returns those that are ready.
func poll(sources []source, deadlines []time.Time) (ready []source, err error) {
	fds := make([]unix.PollFd, len(sources))
	for i, s := range sources {
		fds[i] = unix.PollFd{Fd: int32(s.fd)}
		if !s.hangup {
			fds[i].Events = unix.POLLIN
		}
	}
	if _, err = unix.Poll(fds, timeout(deadlines)); err != nil && err != unix.EINTR {
		return nil, os.NewSyscallError("poll", err)
	}
	for i, fd := range fds {
		if fd.Revents != 0 {
			ready = append(ready, sources[i])
		}
	}
	return ready, nil
}

// pollFirst is poll where it must go on: somebody may have lowered our limit since,
// prlimit(2), below what is watched. Then the last sources wait.
func pollFirst(sources []source, deadlines []time.Time) (ready []source, err error) {
	ready, err = poll(sources, deadlines)
	if errors.Is(err, unix.EINVAL) {
		ready, err = poll(sources[:min(len(sources), maxPolled())], deadlines)
	}
	return ready, err
}

// maxPolled is how many descriptors poll(2) takes.
func maxPolled() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(limit.Cur, math.MaxInt32))
}

// await blocks for one event and handles it. One at a time, because handling one
// may close what the next would be about. A deadline that has passed comes before
// what strangers can keep busy.
func (k *keeper) await() {
	wait := pollFirst
	if k.state == starting || k.state == probation { // it would be of no use for the next reload
		wait = poll
	}
	ready, err := wait(k.sources(), k.deadlines())
	if err != nil {
		k.say("%v; the keeper leaves, the server stays", err)
		os.Exit(ExitFailed)
	}
	now := time.Now()
	k.heard = false // whoever is served now, the next turn is the server's again
	for _, s := range ready {
		if !(s.open && k.late(now)) {
			s.ready()
			return
		}
	}
	if passed(k.deafUntil, now) {
		k.deafUntil = time.Time{}
	}
	if passed(k.deadline, now) {
		k.deadline = time.Time{}
		k.handle(isTimedOut)
	}
	for _, p := range k.Older {
		if passed(p.deadline, now) {
			p.timedOut()
			k.tellDone()
		}
	}
}

// deadlines are all that the loop waits for; zero for none.
func (k *keeper) deadlines() []time.Time {
	all := []time.Time{k.deadline, k.deafUntil}
	for _, p := range k.Older {
		all = append(all, p.deadline)
	}
	return all
}

// late reports whether a deadline has passed.
func (k *keeper) late(now time.Time) bool {
	return slices.ContainsFunc(k.deadlines(), func(d time.Time) bool { return passed(d, now) })
}

// timeout is the time to the first deadline for poll(2), in milliseconds; -1 if
// there is none.
func timeout(deadlines []time.Time) int {
	var first time.Time
	for _, d := range deadlines {
		if !d.IsZero() && (first.IsZero() || d.Before(first)) {
			first = d
		}
	}
	if first.IsZero() {
		return -1
	}
	ms := math.Ceil(float64(time.Until(first)) / float64(time.Millisecond))
	return int(max(0, min(ms, math.MaxInt32)))
}

func passed(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }

// readStage learns how exec went, once the stage has said all.
func (k *keeper) readStage() {
	var buf [64]byte
	if n, err := unix.Read(k.stageFD, buf[:]); err == nil && n > 0 {
		k.stageText += string(buf[:n])
		return
	}
	unix.Close(k.stageFD)
	k.stageFD = -1
	for line := range strings.Lines(k.stageText) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch errno, err := strconv.Atoi(value); {
		case key == stageLimit:
			k.cramped = limitHint(value, len(k.passed()))
		case key == stageErrno && err == nil:
			k.failure = execError(k.Command[0], unix.Errno(errno))
			k.handle(hasFailed)
		}
	}
}

// mainExited waits with the news while a successor is being started: it may take
// the sockets over, and then they are not ours to unlink.
func (k *keeper) mainExited() {
	k.hear(maxQueue) // what it said before
	k.exited = true
	if k.state != current || k.successor == nil {
		k.handle(hasExited)
	}
}

// parentExited is the end of a manager that can die, a foreground process: its
// generations must not stay behind without one. A parent that is systemd as process 1
// is not watched. (PR_SET_PDEATHSIG would be shorter, and kill without a drain; it is
// lost where the server's program has file capabilities, prctl(2), and reaches none of
// its descendants.)
func (k *keeper) parentExited() {
	k.parent.close()
	k.parent, k.deserted = process{}, true
	k.handle(isDeserted)
}

func (k *keeper) readLauncher() {
	m, err := k.launcher.receive()
	m.close()
	switch {
	case err != nil:
		// Its note came before its end, though perhaps after the
		// poll(2) that showed us only this.
		k.hear(maxQueue)
		k.partFromLauncher()
		k.handle(isAbandoned)
		if k.undo {
			k.putBackPIDFile()
		}
	case m.kind == msgAnnounced: // the note could not be delivered
		k.handle(isAnnounced)
	case m.kind == msgPublished:
		k.noteStored(m)
		k.handle(isPublished)
	case m.kind == msgAbort:
		k.handle(isAborted)
	}
}

// answers reports whether the control socket is this keeper's to serve: until it
// is current its predecessor does, and once it is replaced its successor.
func (k *keeper) answers() bool {
	switch k.state {
	case starting, probation, publishing, announced:
		return k.Generation == 1
	}
	return k.state == current
}

// refuse is the answer to a request that cannot be served, nil if it can.
func (k *keeper) refuse(m message) *message {
	reason, code := "", ExitFailed
	theirs, err := versionsFrom(m)
	if err == nil {
		err = agree(spoken, theirs)
	}
	switch {
	case m.kind != msgReload:
		reason = fmt.Sprintf("unknown request %q", m.kind)
	case err != nil:
		reason = err.Error()
	case k.state != current:
		reason, code = fmt.Sprintf("generation %d is still %v", k.Generation, k.state), ExitBusy
	case k.successor != nil, k.launcher != nil, k.predecessor != nil && !k.predecessor.told:
		reason, code = "another handoff is under way", ExitBusy
	default:
		return nil
	}
	r := &message{kind: msgRefused}
	spoken.appendTo(r)
	r.add("reason", reason)
	r.add("code", strconv.Itoa(code))
	return r
}
