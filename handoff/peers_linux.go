package handoff

import (
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxPeers bounds the connections that have not said what they want.
	maxPeers = 16

	// maxRequest bounds the record in which they do.
	maxRequest = 4 << 10

	// deafTime is how long the control socket is left alone when accept(2) fails:
	// it stays readable, and the loop would do nothing else.
	deafTime = second
)

// acceptPeer takes one connection.
func (k *keeper) acceptPeer() {
	k.keepSpare() // the last peer may have needed it
	c, err := acceptControl(k.Control.FD)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		k.makeRoom()
		c, err = acceptControl(k.Control.FD)
	}
	var call *os.SyscallError
	switch {
	case err == nil:
		if len(k.peers) == maxPeers {
			k.dropPeer(k.nuisance())
		}
		k.peers = append(k.peers, c)
		return
	case errors.Is(err, unix.EAGAIN): // the other generation that has this socket was faster
		return
	case errors.As(err, &call):
		k.deafUntil = time.Now().Add(deafTime)
	}
	k.complain(err.Error(), "%v", err)
}

// keepSpare holds a descriptor back, so that a reload is served also when there is no
// other: a handoff needs but this one.
func (k *keeper) keepSpare() {
	if k.spare > 0 {
		return
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC) // of all files the smallest
	if err == nil {
		k.spare = fd
	}
}

// makeRoom frees one descriptor, if there is one to be spared.
func (k *keeper) makeRoom() {
	if k.spare > 0 {
		unix.Close(k.spare)
		k.spare = 0
	} else if len(k.peers) > 0 {
		k.dropPeer(k.nuisance())
	}
}

// nuisance is the peer to drop when there are too many: the oldest connection of
// the process that has most of them. A launcher has one, so that it is not dropped
// between its connect(2) and its request because somebody else holds many.
func (k *keeper) nuisance() *channel {
	pids := make([]int32, len(k.peers))
	count := map[int32]int{}
	for i, c := range k.peers {
		if cred, err := unix.GetsockoptUcred(c.fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pids[i] = cred.Pid
		}
		count[pids[i]]++
	}
	worst := 0
	for i := range k.peers {
		if count[pids[i]] > count[pids[worst]] {
			worst = i
		}
	}
	return k.peers[worst]
}

func (k *keeper) dropPeer(c *channel) {
	c.close()
	k.forgetPeer(c)
}

func (k *keeper) forgetPeer(c *channel) {
	k.peers = slices.DeleteFunc(k.peers, func(p *channel) bool { return p == c })
}

// readPeer serves a request: rows 3 and 4.
func (k *keeper) readPeer(c *channel) {
	m, err := c.receiveRequest()
	m.close()
	if errors.Is(err, unix.EAGAIN) {
		return
	}
	if err != nil {
		if !errors.Is(err, io.EOF) {
			k.complain("request", "control socket: %.200s", err) // has some of what was sent
		}
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
		k.complain("estate", "hand over sockets: %v", err)
		k.dropPeer(c)
		return
	}
	reached("estate sent")
	k.successor = c
	k.forgetPeer(c)
}

// receiveRequest takes the one record in which a peer says what it wants, and never
// waits: nothing is known of the peer but its user. The descriptors that a later
// version may send along become the caller's.
func (c *channel) receiveRequest() (m message, err error) {
	data, fds, err := c.read(maxRequest, unix.MSG_DONTWAIT)
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
