package handoff

import (
	"time"
)

// predecessor is the previous generation as its successor's keeper sees it. Its
// own keeper makes it drain; should that one die, we finish its server.
type predecessor struct {
	keeper   *channel // nil once it hung up
	server   process
	options  Options   // how to finish the server
	asked    bool      // the commit was sent
	told     bool      // the server was told to stop, or is gone
	deadline time.Time // of the keeper's answer, then of an orphaned server
}

// commit tells the keeper that it has been replaced.
func (p *predecessor) commit() {
	p.asked, p.deadline = true, time.Now().Add(patience)
	if p.keeper.send(message{kind: msgCommit}) != nil {
		p.lose()
	}
}

// readAnswer takes what the keeper says.
func (p *predecessor) readAnswer() {
	m, err := p.keeper.receive()
	m.close()
	if err != nil || m.kind != msgReplaced {
		p.lose()
		return
	}
	p.told, p.deadline = true, time.Time{}
}

// lose goes on without the keeper: it is dead, hung, or has left because its
// server is gone.
func (p *predecessor) lose() {
	p.keeper.close()
	p.keeper, p.deadline = nil, time.Time{}
	if !p.server.running() {
		p.told = true
		return
	}
	if !p.told {
		p.told = true
		p.server.signal(p.options.StopSignal) // best effort: SIGKILL follows
	}
	if p.options.DrainTimeout > 0 {
		p.deadline = time.Now().Add(p.options.DrainTimeout)
	}
	say("pid=%d has lost its keeper and drains without, timeout=%s", p.server.pid, limit(p.options.DrainTimeout))
}

// timedOut gives up on the keeper, or on the server that it left.
func (p *predecessor) timedOut() {
	if p.keeper != nil {
		p.lose()
		return
	}
	p.deadline = time.Time{}
	killSession(p.server)
}

// orphaned reports whether nobody else looks after the server.
func (p *predecessor) orphaned() bool { return p != nil && p.keeper == nil && p.server.running() }

func (p *predecessor) close() {
	if p.keeper != nil {
		p.keeper.close()
	}
	p.server.close()
}
