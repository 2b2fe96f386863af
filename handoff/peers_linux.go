package handoff

import (
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxPeers bounds the connections that have not said what they want.
	maxPeers = 16

	// maxRequest bounds the record in which they do, and maxHandoff that with a
	// command line: the first argument that is too much may be as long as the kernel
	// takes, MAX_ARG_STRLEN.
	maxRequest = 4 << 10
	maxHandoff = recordSize + 129<<10

	// deafTime is how long the control socket is left alone when accept(2) fails:
	// it stays readable, and the loop would do nothing else.
	deafTime = second
)

// callers are the connections to a control socket of which it is not known yet what
// they want. Nobody but root and our own user is among them, and no flood of them
// blocks or grows their owner.
type callers struct {
	peers     []*channel
	deafUntil time.Time // the socket is left alone; zero for not
	spare     int       // a descriptor in reserve for the next peer, 0 for none
	complaints
}

// acceptPeer takes one connection.
func (c *callers) acceptPeer(listener int) {
	c.keepSpare() // the last peer may have needed it
	p, err := acceptControl(listener)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		c.makeRoom()
		p, err = acceptControl(listener)
	}
	var call *os.SyscallError
	switch {
	case err == nil:
		if len(c.peers) == maxPeers {
			c.dropPeer(c.nuisance())
		}
		c.peers = append(c.peers, p)
		return
	case errors.Is(err, unix.EAGAIN): // the other generation that has this socket was faster
		return
	case errors.As(err, &call):
		c.deafUntil = time.Now().Add(deafTime)
	}
	c.complain(err.Error(), "%v", err)
}

// keepSpare holds a descriptor back, so that a reload is served also when there is no
// other: a handoff needs but this one.
func (c *callers) keepSpare() {
	if c.spare > 0 {
		return
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC) // of all files the smallest
	if err == nil {
		c.spare = fd
	}
}

// makeRoom frees one descriptor, if there is one to be spared.
func (c *callers) makeRoom() {
	if c.spare > 0 {
		unix.Close(c.spare)
		c.spare = 0
	} else if len(c.peers) > 0 {
		c.dropPeer(c.nuisance())
	}
}

// nuisance is the peer to drop when there are too many: the oldest connection of
// the process that has most of them. A launcher has one, so that it is not dropped
// between its connect(2) and its request because somebody else holds many.
func (c *callers) nuisance() *channel {
	pids := make([]int32, len(c.peers))
	count := map[int32]int{}
	for i, p := range c.peers {
		if cred, err := unix.GetsockoptUcred(p.fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pids[i] = cred.Pid
		}
		count[pids[i]]++
	}
	worst := 0
	for i := range c.peers {
		if count[pids[i]] > count[pids[worst]] {
			worst = i
		}
	}
	return c.peers[worst]
}

func (c *callers) dropPeer(p *channel) {
	p.close()
	c.forgetPeer(p)
}

func (c *callers) forgetPeer(p *channel) {
	c.peers = slices.DeleteFunc(c.peers, func(other *channel) bool { return other == p })
}

// readRequest reads what a peer wants, and reports whether it has said so. One that
// makes no sense is dropped.
func (c *callers) readRequest(p *channel, most int) (m message, ok bool) {
	m, err := p.receiveRequest(most)
	m.close()
	if err == nil || errors.Is(err, unix.EAGAIN) {
		return m, err == nil
	}
	if !errors.Is(err, io.EOF) {
		c.complain("request", "control socket: %.200s", err) // has some of what was sent
	}
	c.dropPeer(p)
	return m, false
}

// readPeer serves a request: rows 3 and 4.
func (k *keeper) readPeer(c *channel) {
	m, ok := k.readRequest(c, maxRequest)
	if !ok {
		return
	}
	if refusal := k.refuse(m); refusal != nil {
		c.send(*refusal) // best effort
		k.dropPeer(c)
		return
	}
	k.receiveOwn() // what the server has stored before
	e := k.estate
	e.Server = k.main
	answer := message{kind: msgEstate}
	spoken.appendTo(&answer)
	e.appendTo(&answer)
	for _, s := range k.options.finishing() {
		answer.add(s.Name, s.Value)
	}
	if k.options.Detach { // whoever asks has a terminal, or nothing that lasts
		for fd := range 3 {
			answer.addFD("stdio", strconv.Itoa(fd), fd)
		}
	}
	reached("asked for the estate")
	if err := c.send(answer); err != nil {
		k.complain("estate", "hand over sockets: %v", err)
		k.dropPeer(c)
		return
	}
	reached("estate sent")
	k.successor = c
	k.forgetPeer(c)
	k.guardPaths()
}

// receiveRequest takes the one record in which a peer says what it wants, of at most so
// many bytes. It never waits, because nothing is known of the peer but its user, and has
// room for what was sent and no more. The descriptors that a later version may send
// along become the caller's.
func (c *channel) receiveRequest(most int) (m message, err error) {
	size, _, _, _, err := unix.Recvmsg(c.fd, nil, nil, unix.MSG_PEEK|unix.MSG_TRUNC|unix.MSG_DONTWAIT)
	if err != nil {
		return message{}, os.NewSyscallError("recvmsg", err)
	}
	data, fds, err := c.read(min(size, most), unix.MSG_DONTWAIT)
	if err != nil {
		return message{}, err
	}
	more, err := m.decodeRecord(data, fds)
	if err == nil && more {
		err = errors.New("request of more than one record")
	}
	if err != nil {
		closeAll(fds)
		return message{}, err
	}
	return m, nil
}
