package handoff

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/flipexec/flipexec/notify"
)

const (
	// maxTurn is how many messages are handled before others have their turn.
	// Nothing but a flood fills a queue faster than that empties it.
	maxTurn = 8

	// maxQueue is more than wait on a notify socket at any time: 10, or 512 where
	// systemd sets net.unix.max_dgram_qlen.
	maxQueue = 1024
)

// receiveNotifications takes what waits on the notify socket, or as much of it as is
// fair: in the next turn everybody else comes first. Strangers need not fill the
// queue to be always there.
func (k *keeper) receiveNotifications() {
	k.hear(maxTurn)
	k.heard = true
}

// receiveLast takes what came before the notify path led elsewhere.
func (k *keeper) receiveLast() {
	k.notifyPath.socket.Mute() // best effort: nobody is heard any more
	k.hear(maxQueue)
}

// hear takes up to so many messages.
func (k *keeper) hear(most int) {
	if k.notifyPath != nil { // it could be made
		k.receive(k.notifyPath.socket, most, k.note)
	}
}

func (k *keeper) receive(socket *notify.Socket, most int, note func(notify.Datagram)) {
	for range most {
		d, err := socket.Receive()
		if errors.Is(err, notify.ErrEmpty) {
			return
		}
		if err != nil {
			k.complain("datagram", "notify socket: %.200s", err) // has some of what was sent
		}
		if errors.Is(err, notify.ErrRefused) {
			continue // that was one message
		}
		if err != nil {
			return
		}
		note(d)
	}
}

// note weighs one message. Before the generation is current, its server speaks to
// us, and what concerns the manager goes on through the launcher, the only one of
// us that the manager listens to. Afterwards only a draining server, or a library
// that connected once, still comes here, and the manager must not hear it.
func (k *keeper) note(d notify.Datagram) {
	if k.state != starting && k.launcher == nil || k.state == draining || k.state == failed {
		k.notifyPath.socket.Mute() // best effort: or each one wakes us to be dropped
		d.Discard()
		return
	}
	if d.PID == k.launcherProcess.pid && d.Message.Is(announcedNote[0].Key, announcedNote[0].Value) {
		k.handle(isAnnounced)
		return
	}
	if !k.knows(d) {
		return
	}
	defer closeAll(d.FDs) // answers a BARRIER=1; until then its sender is there to be looked at
	if k.state == starting {
		k.prepare(d)
	}
	k.storeOwn(d)
	k.forward(d)
	switch {
	case d.Message.Is("STOPPING", "1"):
		k.failure = errors.New("server said STOPPING=1")
		k.handle(hasFailed)
	case d.Message.Is("READY", "1"): // wherever it stands: some say RELOADING=1 before
		k.handle(isReady)
	}
}

// knows reports whether a message comes from a process of the generation, and discards it
// if it does not.
func (k *keeper) knows(d notify.Datagram) bool {
	if k.members().has(d.PID) {
		return true
	}
	k.complain(fmt.Sprintf("uid %d", d.UID), "notify socket: message of pid %d, uid %d, which is not of this generation", d.PID, d.UID)
	d.Discard()
	return false
}

// prepare takes what concerns the start: a longer deadline, another main process.
func (k *keeper) prepare(d notify.Datagram) {
	if more, ok := extension(d.Message); ok {
		if until := time.Now().Add(more); until.After(k.deadline) {
			k.deadline = until
		}
	}
	if text, ok := d.Message.Get("MAINPID"); ok {
		pid, err := strconv.Atoi(text)
		if err != nil || pid <= 1 {
			k.say("notify socket: MAINPID=%q is no process", text)
		} else if pid != k.main.pid {
			k.follow(pid)
		}
	}
}

// extension is the EXTEND_TIMEOUT_USEC of a message, if it has one that is a number.
func extension(m notify.Message) (time.Duration, bool) {
	text, _ := m.Get("EXTEND_TIMEOUT_USEC")
	usec, err := strconv.ParseUint(text, 10, 52) // a Duration has room for more
	return time.Duration(usec) * time.Microsecond, err == nil
}

// follow makes another process of the generation its main one: a server that
// forks away.
func (k *keeper) follow(pid int) {
	p, err := open(pid)
	if err != nil {
		k.say("MAINPID=%d: %v", pid, err)
		return
	}
	if !k.members().has(pid) || !p.running() {
		k.say("MAINPID=%d is not of this generation", pid)
		p.close()
		return
	}
	if k.main.pid != k.Server.pid {
		k.main.close()
	}
	k.main = p
}

// forward passes a message on to the launcher, with descriptors for the manager's store.
func (k *keeper) forward(d notify.Datagram) {
	text, err := d.Message.Encode()
	if err != nil || k.launcher == nil {
		return
	}
	note := message{kind: msgNotify}
	note.add("text", string(text))
	if d.Message.Is("FDSTORE", "1") {
		for _, fd := range d.FDs {
			note.addFD("descriptor", "", fd)
		}
	}
	if err := k.launcher.send(note); err != nil && len(d.FDs) > 0 { // else best effort: a dead launcher is noticed by its hang-up
		k.complain("FDSTORE", "FDSTORE=1 is not passed on to the manager: %v", err)
	}
}
