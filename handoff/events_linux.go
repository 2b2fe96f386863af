package handoff

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// maxPeers bounds the connections that have not said what they want; beyond it
// the oldest is dropped, so that nobody can keep a launcher out by holding them.
const maxPeers = 16

// A source is a descriptor to wait for and what to do once it is readable or
// hung up.
type source struct {
	fd    int
	ready func()
}

// sources are listed in the order in which they are served. What a server says
// comes before its exit, as in systemd.
func (k *keeper) sources() []source {
	var s []source
	add := func(fd int, ready func()) { s = append(s, source{fd, ready}) }
	if k.stageFD >= 0 {
		add(k.stageFD, k.readStage)
	}
	if k.notifyPath != nil {
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
	for _, c := range k.peers {
		add(c.fd, func() { k.readPeer(c) })
	}
	if k.answers() {
		add(k.Control.FD, k.acceptPeer)
	}
	return s
}

// await blocks for one event and handles it. One at a time, because handling one
// may close what the next would be about.
func (k *keeper) await() {
	sources := k.sources()
	fds := make([]unix.PollFd, len(sources))
	for i, s := range sources {
		fds[i] = unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN}
	}
	if _, err := unix.Poll(fds, k.timeout()); err != nil {
		if err != unix.EINTR {
			k.say("poll: %v; the keeper leaves, the server stays", err)
			os.Exit(ExitFailed)
		}
		return
	}
	for i, s := range sources {
		if fds[i].Revents != 0 {
			s.ready()
			return
		}
	}
	now := time.Now()
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

// timeout is the time to the next deadline for poll(2), in milliseconds; -1 if
// there is none.
func (k *keeper) timeout() int {
	first := k.deadline
	for _, p := range k.Older {
		if !p.deadline.IsZero() && (first.IsZero() || p.deadline.Before(first)) {
			first = p.deadline
		}
	}
	if first.IsZero() {
		return -1
	}
	ms := math.Ceil(float64(time.Until(first)) / float64(time.Millisecond))
	return int(max(0, min(ms, math.MaxInt32)))
}

func passed(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }

// readStage learns how exec went.
func (k *keeper) readStage() {
	var buf [16]byte
	n, err := unix.Read(k.stageFD, buf[:])
	unix.Close(k.stageFD)
	k.stageFD = -1
	if errno, aerr := strconv.Atoi(string(buf[:max(n, 0)])); err == nil && aerr == nil {
		k.failure = execError(k.Command[0], unix.Errno(errno))
		k.handle(hasFailed)
	}
}

// mainExited waits with the news while a successor is being started: it may take
// the sockets over, and then they are not ours to unlink.
func (k *keeper) mainExited() {
	k.exited = true
	if k.state != current || k.successor == nil {
		k.handle(hasExited)
	}
}

func (k *keeper) readLauncher() {
	m, err := k.launcher.receive()
	m.close()
	switch {
	case err != nil:
		// Its note came before its end, though perhaps after the
		// poll(2) that showed us only this.
		k.receiveNotifications()
		k.partFromLauncher()
		k.handle(isAbandoned)
		if k.undo {
			k.putBackPIDFile()
		}
	case m.kind == msgAnnounced: // the note could not be delivered
		k.handle(isAnnounced)
	case m.kind == msgPublished:
		k.handle(isPublished)
	case m.kind == msgAbort:
		k.handle(isAborted)
	}
}

func (k *keeper) readPredecessor(p *predecessor) {
	p.readAnswer()
	if p.keeper == nil && !p.server.running() {
		k.forget(p)
	}
	k.tellDone()
}

// forget lets go of a predecessor that is gone.
func (k *keeper) forget(p *predecessor) {
	p.close()
	k.Older = slices.DeleteFunc(k.Older, func(o *predecessor) bool { return o == p })
	if k.predecessor == p {
		k.predecessor = nil
	}
	k.settle()
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

func (k *keeper) acceptPeer() {
	c, err := acceptControl(k.Control.FD)
	if err != nil {
		k.say("%v", err)
		return
	}
	if len(k.peers) == maxPeers {
		k.dropPeer(k.peers[0])
	}
	k.peers = append(k.peers, c)
}

func (k *keeper) dropPeer(c *channel) {
	c.close()
	k.peers = slices.DeleteFunc(k.peers, func(p *channel) bool { return p == c })
}

// readPeer serves a request: rows 3 and 4.
func (k *keeper) readPeer(c *channel) {
	m, err := c.receive()
	m.close()
	if err != nil {
		k.dropPeer(c)
		return
	}
	if refusal := k.refuse(m); refusal != nil {
		c.send(*refusal) // best effort
		k.dropPeer(c)
		return
	}
	e := k.estate
	e.Server = k.main
	answer := message{kind: msgEstate}
	spoken.appendTo(&answer)
	e.appendTo(&answer)
	for _, s := range k.options.finishing() {
		answer.add(s.Name, s.Value)
	}
	reached("asked for the estate")
	if err := c.send(answer); err != nil {
		k.say("hand over sockets: %v", err)
		k.dropPeer(c)
		return
	}
	reached("estate sent")
	k.successor = c
	k.peers = slices.DeleteFunc(k.peers, func(p *channel) bool { return p == c })
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
	case k.successor != nil, k.launcher != nil:
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

func (k *keeper) readSuccessor() {
	m, err := k.successor.receive()
	m.close()
	switch {
	case err == nil && m.kind == msgCommit && k.state == current:
		k.handle(isReplaced)
	case err == nil && m.kind == msgCommit: // of a keeper that had to be replaced
		k.successor.send(message{kind: msgReplaced}) // best effort
	case err == nil && m.kind == msgReserve && k.state == current:
		k.reserve(m)
	case err == nil && m.kind == msgEnd:
		k.handle(isCrowded)
	case err != nil: // it gave up, or has seen us through
		k.successor.close()
		k.successor = nil
		if k.state == current {
			k.tidy()
		}
		if k.exited && k.state == current {
			k.handle(hasExited)
		}
	}
}

// reserve remembers what is where the launcher is going to bind.
func (k *keeper) reserve(m message) {
	for _, f := range m.fields {
		if spec, err := activation.ParseSpec(f.value); err == nil && f.key == "spec" {
			if p, ok := activation.LookAt(spec); ok {
				k.reserved = append(k.reserved, p)
			}
		}
	}
	k.successor.send(message{kind: msgReserved}) // best effort: it gives up without
}

// tidy removes what a launcher left behind that died on its way.
func (k *keeper) tidy() {
	for _, p := range k.reserved {
		if err := p.Tidy(); err != nil {
			k.say("%v", err)
		}
	}
	k.reserved = nil
}
