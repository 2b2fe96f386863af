package handoff

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// The manager's file descriptor store (FileDescriptorStoreMax= of systemd.service(5))
// holds sockets from one run of the unit to the next: while it does, a connection waits
// in the socket's queue, whatever dies. What it holds comes back in LISTEN_FDS of
// ExecStart=, and nowhere else.
//
// Launchers alone tell it what to hold, because it listens to them: that of a start until
// it has named the server as the main process, and that of a reload to its end.

// maxStoredNames bounds the names in the store. They all come back in LISTEN_FDNAMES, and
// without room there (MAX_ARG_STRLEN, 128 KiB, execve(2)) the unit could not be started
// any more. Others may have names as well.
const maxStoredNames = 120 << 10

// storeRoom is how many descriptors the manager holds, if it says so: in FDSTORE, since
// systemd 254.
func storeRoom(fdstore string) (n int, ok bool) {
	n, err := strconv.Atoi(fdstore)
	return n, err == nil && n >= 0
}

// storable is how many of the names there is room for, and what to say if that is not
// all of them.
func storable(names []string, room int) (n int, complaint string) {
	for size := 0; n < min(len(names), room); n++ {
		if size += len(names[n]) + 1; size > maxStoredNames {
			return n, fmt.Sprintf("LISTEN_FDNAMES has no room for %d of %d sockets to outlive a crash", len(names)-n, len(names))
		}
	}
	if n < len(names) {
		complaint = fmt.Sprintf("FDSTORE=%d has no room for %d of %d sockets to outlive a crash; hint: FileDescriptorStoreMax=%d", room, len(names)-n, len(names), len(names))
	}
	return n, complaint
}

// takeStored is what comes of an earlier run of the unit: its sockets, and connections of
// its server.
func (l *launcher) takeStored() (err error) {
	if l.inherited, l.freed, err = reclaimStored(l.options, l.inherited, l.env); err == nil {
		l.inherited, l.Own = ownConnections(l.inherited)
	}
	return err
}

// reclaimStored takes the sockets back that the manager has kept since an earlier run of the
// unit. It has the manager forget what is not declared any more, and everything if it is
// to keep nothing. What is forgotten may be in the way for a moment yet: gatherFreed.
func reclaimStored(o Options, inherited []activation.Socket, env []string) (kept []activation.Socket, freed bool, err error) {
	kept, dropped := activation.Restore(o.Listen, inherited)
	forget := storedNames(dropped)
	for _, s := range dropped {
		say("socket %q of an earlier run is not as declared, and dropped", s.Name)
		s.Close()
	}
	if !o.FDStore {
		forget = append(forget, storedNames(kept)...)
		for i := range kept {
			kept[i].Stored = ""
		}
	}
	if len(forget) == 0 {
		return kept, false, nil
	}
	manager, err := notify.Dial(value(env, "NOTIFY_SOCKET"))
	if err != nil {
		return nil, false, fmt.Errorf("stored sockets: NOTIFY_SOCKET: %w", err)
	}
	defer manager.Close()
	deadline := time.Now().Add(publishTime)
	if err = forgetStored(manager, forget, deadline); err == nil {
		err = manager.Barrier(deadline)
	}
	if err != nil {
		return nil, false, fmt.Errorf("stored sockets: %w", err)
	}
	return kept, true, nil
}

// gatherFreed is activation.Gather after reclaimStored. The barrier proves that the manager
// has forgotten a socket, and not that it is closed: systemd does that in a process of
// its own (service_fd_store_unlink and asynchronous_close, systemd src/core/service.c), of
// which nothing tells. So an address that is in use is tried again for a time.
func gatherFreed(specs []activation.Spec, inherited []activation.Socket, freed bool) (activation.Set, error) {
	for deadline := time.Now().Add(publishTime); ; time.Sleep(time.Millisecond) {
		set, err := activation.Gather(specs, inherited)
		if !freed || !errors.Is(err, unix.EADDRINUSE) || time.Now().After(deadline) {
			return set, err
		}
	}
}

// storedNames are those under which the manager has sockets.
func storedNames(sockets []activation.Socket) (names []string) {
	for _, s := range sockets {
		if s.Stored != "" {
			names = append(names, s.Stored)
		}
	}
	return names
}

func forgetStored(manager *notify.Sender, names []string, deadline time.Time) error {
	for _, name := range names {
		m := notify.Message{{Key: "FDSTOREREMOVE", Value: "1"}, {Key: "FDNAME", Value: name}}
		if err := manager.Send(m, deadline); err != nil {
			return err
		}
	}
	return nil
}

// storeSocket sends a socket to the manager, which drops it if it has it. FDPOLL=0,
// because an error that waits on a socket would make an end of it there: for UDP that
// is an answer of ICMP.
func storeSocket(manager *notify.Sender, s activation.Socket, name string, deadline time.Time) error {
	return manager.Send(notify.Message{{Key: "FDSTORE", Value: "1"}, {Key: "FDPOLL", Value: "0"}, {Key: "FDNAME", Value: name}}, deadline, s.FD)
}

// planStore decides what the manager is to keep, and what to forget. A socket counts as
// stored only under the name that it has now.
func (l *launcher) planStore() {
	l.toStore = make([]string, len(l.Sockets))
	if l.options.FDStore {
		l.chooseStored()
	}
	for i := range l.Sockets {
		if s := &l.Sockets[i]; s.Stored != "" && s.Stored != l.toStore[i] {
			l.Forget = append(l.Forget, s.Stored)
			s.Stored = ""
		}
	}
	for _, s := range l.Dropped {
		name := s.Stored
		if l.options.FDStore { // a launcher may have died before it could tell
			name = cmp.Or(name, s.StoreName())
		}
		if name != "" {
			l.Forget = append(l.Forget, name)
		}
	}
	wanted := map[string]bool{}
	for _, name := range l.toStore {
		wanted[name] = true
	}
	l.Forget = slices.DeleteFunc(l.Forget, func(name string) bool { return wanted[name] })
}

// chooseStored fills in the names of what there is room for.
func (l *launcher) chooseStored() {
	var names []string
	for _, s := range l.Sockets {
		if name := s.StoreName(); name != "" {
			names = append(names, name)
		}
	}
	room, ok := storeRoom(value(l.env, "FDSTORE"))
	if !ok {
		room = len(names)
	}
	n, complaint := storable(names, room)
	if complaint != "" {
		say("generation %d: %s", l.Generation, complaint)
	}
	for i, s := range l.Sockets {
		if name := s.StoreName(); name != "" && n > 0 {
			l.toStore[i] = name
			n--
		}
	}
}

// updateStore does what was planned, in an order in which a store that is full has room
// for what is new. Should it fail, or should we die, a crash costs more, until the next
// handoff makes up for it.
func (l *launcher) updateStore() {
	if l.manager == nil {
		return
	}
	deadline := time.Now().Add(publishTime)
	err := forgetStored(l.manager, l.Forget, deadline)
	if err == nil {
		l.Forget = nil
		err = l.storeSockets(deadline)
	}
	if err != nil {
		say("generation %d: store sockets: %v", l.Generation, err)
	}
}

func (l *launcher) storeSockets(deadline time.Time) error {
	for i, name := range l.toStore {
		s := &l.Sockets[i]
		if s.Stored == name {
			continue
		}
		if err := storeSocket(l.manager, *s, name, deadline); err != nil {
			return err
		}
		s.Stored = name
		l.added = append(l.added, name)
	}
	return nil
}

// putBackStore makes the store again what it was before updateStore.
func (l *launcher) putBackStore() {
	if l.manager == nil {
		return
	}
	deadline := time.Now().Add(publishTime)
	err := forgetStored(l.manager, l.added, deadline)
	for _, s := range l.inherited {
		if err == nil && s.Stored != "" {
			err = storeSocket(l.manager, s, s.Stored, deadline)
		}
	}
	if err != nil {
		say("generation %d: store sockets: %v", l.Generation, err)
	}
}

// noteStored learns what the manager has been given to keep.
func (k *keeper) noteStored(m message) {
	var stored []string
	k.Forget = nil
	for _, f := range m.fields {
		switch f.key {
		case "stored":
			stored = append(stored, f.value)
		case "forget":
			k.Forget = append(k.Forget, f.value)
		}
	}
	for i := range k.Sockets {
		if s := &k.Sockets[i]; s.Spec != "" && len(stored) > 0 {
			s.Stored, stored = stored[0], stored[1:]
		}
	}
}
