package handoff

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flipexec/flipexec/notify"
)

// predecessor is an earlier generation as the keeper sees it whose generation is
// current, or about to be. Its own keeper makes it drain; should that one die, we
// finish its server. Whoever becomes current takes all of them over from the one
// before, which forgets them.
type predecessor struct {
	generation int
	keeper     *channel // nil once it hung up
	server     process
	members    members   // its generation's processes
	options    Options   // how to finish the server
	ours       bool      // to be looked after: from our commit on
	told       bool      // the server was told to stop, or is gone
	deadline   time.Time // of the keeper's answer, then of the drain; zero for none
}

// commit tells the keeper that it has been replaced.
func (p *predecessor) commit() {
	p.ours, p.deadline = true, time.Now().Add(patience)
	if p.keeper.send(message{kind: msgCommit}) != nil {
		p.lose()
	}
}

// adopt looks after a generation that drains already.
func (p *predecessor) adopt() {
	p.ours, p.told = true, true
	p.boundDrain()
}

// boundDrain sets the end of a drain that has begun. A keeper sees to it first; should
// that one hang, we do.
func (p *predecessor) boundDrain() {
	p.deadline = time.Time{}
	if p.options.DrainTimeout > 0 {
		p.deadline = time.Now().Add(p.options.DrainTimeout + grace)
	}
}

// readAnswer takes what the keeper says.
func (p *predecessor) readAnswer() {
	m, err := p.keeper.receive()
	m.close()
	switch {
	case err != nil:
		p.lose()
	case m.kind == msgReplaced:
		p.told = true
		p.boundDrain()
	}
}

// lose goes on without the keeper: it is dead, hung, or has left because its
// server is gone. A keeper that died between its stop signal and its answer makes
// that signal a second one, as systemd's own stop does.
func (p *predecessor) lose() {
	p.keeper.close()
	p.keeper = nil
	if !p.server.running() {
		p.told, p.deadline = true, time.Time{}
		return
	}
	if !p.told {
		p.told = true
		p.server.signal(p.options.StopSignal) // best effort: SIGKILL follows
		p.boundDrain()
	}
	say("generation %d has lost its keeper and drains without, pid=%d timeout=%s", p.generation, p.server.pid, limit(p.options.DrainTimeout))
}

// timedOut gives up on a keeper that does not answer, or ends the drain.
func (p *predecessor) timedOut() {
	if p.keeper != nil && !p.told {
		p.lose()
		return
	}
	p.kill()
}

// end makes room: the generation's time is up before its drain timeout.
func (p *predecessor) end() {
	if p.keeper != nil && p.keeper.send(message{kind: msgEnd}) == nil {
		p.deadline = time.Now().Add(patience) // should it hang
		return
	}
	say("generation %d is ended to make room, sending KILL", p.generation)
	p.kill()
}

func (p *predecessor) kill() {
	p.deadline = time.Time{}
	p.members.kill()
}

// status is what the manager is to show while the predecessor is the one that serves.
func (p *predecessor) status() notify.Field {
	return notify.Field{Key: "STATUS", Value: fmt.Sprintf("generation %d: pid %d", p.generation, p.server.pid)}
}

// orphaned reports whether nobody but us looks after the server.
func (p *predecessor) orphaned() bool { return p.ours && p.keeper == nil && p.server.running() }

func (p *predecessor) close() {
	if p.keeper != nil {
		p.keeper.close()
	}
	p.server.close()
}

// appendTo adds the predecessor to a message. The timeout of a drain that has begun is
// what is left of it.
func (p *predecessor) appendTo(m *message) {
	o := p.options
	if p.told && !p.deadline.IsZero() {
		o.DrainTimeout = max(time.Until(p.deadline)-grace, time.Millisecond)
	}
	m.addFD("older", strconv.Itoa(p.server.pid), p.server.fd)
	m.add("older-generation", strconv.Itoa(p.generation))
	if p.keeper != nil {
		m.addFD("older-keeper", "", p.keeper.fd)
	}
	for _, s := range o.finishing() {
		m.add("older-"+s.Name, s.Value)
	}
}

// describeOlder fills in the predecessor that the field belongs to.
func describeOlder(older []*predecessor, f *field) (err error) {
	if len(older) == 0 {
		return errors.New("no older generation before it")
	}
	p := older[len(older)-1]
	switch f.key {
	case "older-generation":
		p.generation, err = number(f.value)
	case "@older-keeper":
		if p.keeper != nil {
			return errSecond
		}
		p.keeper, err = newChannel(f.take())
	default:
		err = p.options.set(strings.TrimPrefix(f.key, "older-"), f.value)
	}
	return err
}

// addOlder begins a predecessor with the process in the field.
func (e *estate) addOlder(f *field) error {
	pid, err := number(f.value)
	if err != nil {
		return err
	}
	e.Older = append(e.Older, &predecessor{server: process{pid, f.take()}})
	return nil
}

// incomplete reports whether a message left out what we cannot do without.
func (p *predecessor) incomplete() bool { return p.generation == 0 || p.options.StopSignal == 0 }
