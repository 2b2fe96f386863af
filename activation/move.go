package activation

import (
	"slices"
	"time"
)

// Hide takes a TCP or UDP socket out of the kernel's sight, for every process that holds
// it: it gets no connection and no datagram that is not under way, as if nobody had
// bound its address, and what waits in its queue can be taken still. Other sockets, which
// are reached by a path or by a name, stay as they are. It takes no privilege from Linux
// 5.7 on; before, CAP_NET_RAW.
func (s Socket) Hide() error { return s.hide() }

// Show makes a socket that Gather has bound one that gets connections, if it is
// hidden: because it would have taken them from one in Dropped that serves yet.
func (s Socket) Show() error { return s.show() }

// quiet is for how long nothing may have come for a socket to count as done: a
// handshake that was under way when it was hidden takes that long, in a local network.
const quiet = 10 * time.Millisecond

// AwaitQuiet blocks until nothing waits in the queues of the sockets, because the
// server that has them took it, or until the deadline. No event tells of that.
func AwaitQuiet(sockets []Socket, deadline time.Time) {
	if len(sockets) == 0 {
		return
	}
	for last := time.Now(); ; time.Sleep(time.Millisecond) {
		now := time.Now()
		if slices.ContainsFunc(sockets, Socket.waiting) {
			last = now
		}
		if now.Sub(last) >= quiet || now.After(deadline) {
			return
		}
	}
}
