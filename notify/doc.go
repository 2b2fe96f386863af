// Package notify speaks both ends of the readiness protocol of sd_notify(3):
// what a server says to its manager, and the socket on which it is heard.
//
// A [Message] is parsed and encoded without any system call. A [Sender] is
// one connection to a manager: it sends messages, and waits with BARRIER=1
// until they have been processed. A [Socket] is the receiving end to which
// NOTIFY_SOCKET of a server leads; it says who sent each message.
//
// Every wait has a deadline, and [Socket.Receive] never waits at all. Every
// descriptor made here is close-on-exec from birth. The transport is Linux's:
// credentials (unix(7), SO_PASSCRED) and poll(2). On other systems everything but
// messages is an error that wraps [errors.ErrUnsupported].
//
// The protocol has no negative answer. That a message was sent, or processed,
// does not say that the manager accepted it: NotifyAccess= of systemd.service(5)
// decides that, in silence.
//
// The package leaves out AF_VSOCK addresses, the descriptor store's rules and
// the meaning of the fields. It imports neither net nor reflection-based
// encoders, for it is part of a process that stays in memory.
package notify
