package handoff

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/flipexec/flipexec/activation"
)

// estate is what a generation needs to live and leaves to its successor. It
// travels twice in a handoff: from the previous keeper to the launcher, and,
// changed, from there to the new keeper.
type estate struct {
	Generation  int
	Command     []string
	Settings    []Setting
	Sockets     []activation.Socket // LISTEN_FDS of the server, in order
	Control     activation.Socket   // the control socket, listening
	Watchdog    string              // WATCHDOG_USEC, "" for none
	Credentials string              // CREDENTIALS_DIRECTORY of ExecStart=, "" for none
	Server      process             // the generation's own server, if it runs
	Older       []*predecessor      // that may still drain, oldest first
	Forget      []string            // names that the manager's store is to be rid of
	Own         []descriptor        // the server's own, in LISTEN_FDS behind Sockets

	// From a launcher to its keeper only:
	Bound   []activation.Socket // those of Sockets that are new, unlinked on failure
	Dropped []activation.Socket // no longer declared, hidden and unlinked on success
}

// appendTo adds the estate to a message; descriptors stay the caller's.
func (e estate) appendTo(m *message) {
	m.fields = slices.Grow(m.fields, 4*len(e.Sockets)+2*len(e.Settings)+32)
	m.add("generation", strconv.Itoa(e.Generation))
	for _, arg := range e.Command {
		m.add("argument", arg)
	}
	for _, s := range e.Settings {
		m.add("option", s.Name)
		m.add("value", s.Value)
	}
	bound := map[int]bool{}
	for _, s := range e.Bound {
		bound[s.FD] = true
	}
	for _, s := range e.Sockets {
		m.addFD("socket", s.Name, s.FD)
		addFile(m, s)
		if bound[s.FD] {
			m.add("bound", "")
		}
	}
	m.addFD("control", e.Control.Name, e.Control.FD)
	addFile(m, e.Control)
	for _, s := range e.Dropped {
		m.addFD("dropped", s.Name, s.FD)
		addFile(m, s)
	}
	for _, d := range e.Own {
		m.addFD("stored", d.name, d.fd)
		m.add("poll", strconv.FormatBool(d.poll))
	}
	for _, name := range e.Forget {
		m.add("forget", name)
	}
	m.add("watchdog", e.Watchdog)
	m.add("credentials", e.Credentials)
	if e.Server.pid != 0 {
		m.addFD("server", strconv.Itoa(e.Server.pid), e.Server.fd)
	}
	for _, p := range e.Older {
		p.appendTo(m)
	}
}

// addFile adds what identifies a socket beside its descriptor.
func addFile(m *message, s activation.Socket) {
	m.add("spec", s.Spec)
	m.add("file", strconv.FormatUint(s.Dev, 10)+":"+strconv.FormatUint(s.Ino, 10))
	if s.Stored != "" {
		m.add("stored", s.Stored)
	}
}

// estateFrom reads what appendTo wrote. It takes the descriptors out of the
// message; after an error nothing of them is left open.
func estateFrom(m *message) (e estate, err error) {
	var last *activation.Socket
	for i := range m.fields {
		f := &m.fields[i]
		switch f.key {
		case "generation":
			e.Generation, err = number(f.value)
		case "argument":
			e.Command = append(e.Command, f.value)
		case "option":
			e.Settings = append(e.Settings, Setting{Name: f.value})
		case "value":
			err = e.setValue(f.value)
		case "@socket":
			e.Sockets = append(e.Sockets, activation.Socket{Name: f.value, FD: f.take()})
			last = &e.Sockets[len(e.Sockets)-1]
		case "@control":
			if e.Control.FD > 0 {
				err = errSecond
				break
			}
			e.Control = activation.Socket{Name: f.value, FD: f.take()}
			last = &e.Control
		case "bound":
			if last == nil {
				err = errNoSocket
				break
			}
			e.Bound = append(e.Bound, *last)
		case "@dropped":
			e.Dropped = append(e.Dropped, activation.Socket{Name: f.value, FD: f.take()})
			last = &e.Dropped[len(e.Dropped)-1]
		case "@server":
			err = e.setServer(f)
		case "@older":
			err = e.addOlder(f)
		case "older-generation", "@older-keeper", "older-stop-signal", "older-drain-timeout":
			err = describeOlder(e.Older, f)
		case "spec", "file", "stored":
			err = describe(last, f)
		case "@stored":
			e.Own = append(e.Own, newDescriptor(f.take(), f.value, true))
		case "poll":
			err = e.setPoll(f.value)
		case "forget":
			e.Forget = append(e.Forget, f.value)
		case "watchdog":
			e.Watchdog = f.value
		case "credentials":
			e.Credentials = f.value
		}
		if err != nil {
			e.close()
			return estate{}, fmt.Errorf("message %s: %s=%q: %w", m.kind, f.key, f.value, err)
		}
	}
	if slices.ContainsFunc(e.Older, (*predecessor).incomplete) {
		e.close()
		return estate{}, fmt.Errorf("message %s: older generation without number or stop signal", m.kind)
	}
	if e.Generation == 0 || len(e.Command) == 0 || e.Control.Spec == "" {
		e.close()
		return estate{}, fmt.Errorf("message %s: no generation, command or control socket", m.kind)
	}
	return e, nil
}

// errNoSocket is about a field that belongs to the socket before it.
var errNoSocket = errors.New("no socket before it")

// errSecond is about a field that an estate has once: its descriptor would be lost.
var errSecond = errors.New("comes a second time")

func (e *estate) setServer(f *field) error {
	if e.Server.pid != 0 {
		return errSecond
	}
	pid, err := number(f.value)
	if err == nil {
		e.Server = process{pid, f.take()}
	}
	return err
}

func (e *estate) setValue(value string) error {
	if len(e.Settings) == 0 {
		return errors.New("no option before it")
	}
	e.Settings[len(e.Settings)-1].Value = value
	return nil
}

func (e *estate) setPoll(value string) (err error) {
	if len(e.Own) == 0 {
		return errors.New("no descriptor before it")
	}
	e.Own[len(e.Own)-1].poll, err = strconv.ParseBool(value)
	return err
}

// describe fills in the socket that the field belongs to.
func describe(s *activation.Socket, f *field) error {
	if s == nil {
		return errNoSocket
	}
	switch f.key {
	case "spec":
		s.Spec = f.value
		return nil
	case "stored":
		s.Stored = f.value
		return nil
	}
	dev, ino, _ := strings.Cut(f.value, ":")
	var err error
	if s.Dev, err = strconv.ParseUint(dev, 10, 64); err != nil {
		return err
	}
	s.Ino, err = strconv.ParseUint(ino, 10, 64)
	return err
}

// close closes every descriptor of the estate.
func (e estate) close() {
	for _, s := range append(slices.Clone(e.Sockets), e.Dropped...) {
		s.Close()
	}
	if e.Control.FD > 0 { // 0 is ours, and no socket of an estate
		e.Control.Close()
	}
	for _, d := range e.Own {
		d.close()
	}
	e.Server.close()
	for _, p := range e.Older {
		p.close()
	}
}
