package handoff

import (
	"errors"
	"slices"
	"time"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/notify"
)

// A server can have descriptors of its own, connections or memory, go to the next
// generation. It sends them as to the store of its manager (sd_notify(3), FDSTORE=1),
// but to a socket of its keeper beside its notify path. That path would not do: while
// the generation is current it leads to the manager, which tells neither a keeper nor a
// launcher of a reload what it was given.

// storeVariable names that socket in the server's environment.
const storeVariable = "FLIPEXEC_STORE"

// unnamedOwn is the name of a descriptor that was sent without one, as in systemd.
const unnamedOwn = "stored"

// A descriptor is one of the server's own.
type descriptor struct {
	fd   int
	name string // in LISTEN_FDNAMES of the next generation
	poll bool   // it is dropped when it hangs up
	file fileID
}

// passed are all descriptors of the server from 3 on: its own behind the sockets.
func (e estate) passed() []activation.Socket {
	all := slices.Clone(e.Sockets)
	for _, d := range e.Own {
		all = append(all, activation.Socket{FD: d.fd, Name: d.name})
	}
	return all
}

// receiveOwn takes what waits on the store socket, or as much of it as is fair.
func (k *keeper) receiveOwn() { k.receive(k.notifyPath.store, maxTurn, k.noteOwn) }

// noteOwn weighs one message to the store socket. A server that drains has nobody left
// to whom its descriptors could go.
func (k *keeper) noteOwn(d notify.Datagram) {
	if k.state == draining || k.state == failed {
		k.notifyPath.store.Mute() // best effort: or each one wakes us to be dropped
		d.Discard()
		return
	}
	if !k.knows(d) {
		return
	}
	defer closeAll(d.FDs) // answers a BARRIER=1
	k.storeOwn(d)
}

// storeOwn does with the server's own descriptors what a message says: it removes or else
// stores, as systemd does (service_notify_message, src/core/service.c).
func (k *keeper) storeOwn(d notify.Datagram) {
	name, named := d.Message.Get("FDNAME")
	if named {
		if err := checkOwnName(name); err != nil {
			k.complain("FDNAME", "FDNAME=%.80q: %v", name, err)
			named = false
		}
	}
	switch {
	case d.Message.Is("FDSTOREREMOVE", "1"):
		if named {
			k.removeOwn(name)
		}
		return
	case !d.Message.Is("FDSTORE", "1"):
		return
	case !named:
		name = unnamedOwn
	}
	for _, fd := range d.FDs {
		if err := k.addOwn(newDescriptor(fd, name, !d.Message.Is("FDPOLL", "0"))); err != nil {
			k.complain("FDSTORE", "FDSTORE=1 FDNAME=%.80q: %v", name, err)
		}
	}
}

// checkOwnName refuses what LISTEN_FDNAMES cannot hold, and names that would make the
// next start take a descriptor for a socket of ours.
func checkOwnName(name string) error {
	if activation.IsStoreName(name) {
		return errors.New("is a name of flipexec's own")
	}
	return activation.CheckName(name)
}

// removeOwn lets go of all descriptors of that name. Those that systemd kept over a crash
// came among its sockets: they are what no .socket unit makes.
func (k *keeper) removeOwn(name string) {
	k.dropOwn(func(d descriptor) bool { return d.name == name })
	k.Sockets = slices.DeleteFunc(k.Sockets, func(s activation.Socket) bool {
		gone := s.Spec == "" && s.Name == name && isNameless(s.FD)
		if gone {
			s.Close()
		}
		return gone
	})
}

func (k *keeper) dropOwn(drop func(d descriptor) bool) {
	k.Own = slices.DeleteFunc(k.Own, func(d descriptor) bool {
		gone := drop(d)
		if gone {
			d.close()
		}
		return gone
	})
}

// A storeRequest is what the server told the manager of its store before it could reach
// the manager itself.
type storeRequest struct {
	message notify.Message
	fds     []int
}

// noteRequest keeps a message of the server for the manager's store, if it is one.
func (l *launcher) noteRequest(m *message) {
	said, err := notify.Parse([]byte(m.get("text")))
	if err != nil || !said.Is("FDSTORE", "1") && !said.Is("FDSTOREREMOVE", "1") {
		return
	}
	r := storeRequest{}
	for _, f := range said {
		switch f.Key {
		case "FDSTORE", "FDSTOREREMOVE", "FDNAME", "FDPOLL":
			r.message = append(r.message, f)
		}
	}
	for i := range m.fields {
		if m.fields[i].key == "@descriptor" {
			r.fds = append(r.fds, m.fields[i].take())
		}
	}
	l.requests = append(l.requests, r)
}

// passRequests tells the manager, when it listens to us still, and the generation has
// nothing to fear any more: what it is told of a name cannot be taken back.
func (l *launcher) passRequests() {
	deadline := time.Now().Add(publishTime)
	for _, r := range l.requests {
		l.tellManagerUntil(deadline, r.message, r.fds...)
		closeAll(r.fds)
	}
	l.requests = nil
}
