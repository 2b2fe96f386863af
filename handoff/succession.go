package handoff

import (
	"slices"
	"time"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

func (k *keeper) readPredecessor(p *predecessor) {
	p.readAnswer()
	if p.keeper == nil && !p.server.running() {
		k.forget(p)
	}
	k.tellDone()
}

// forget lets go of a predecessor that is gone, and removes what its keeper has left
// behind if that was killed.
func (k *keeper) forget(p *predecessor) {
	removeCgroup(p.members.cgroup)
	if !k.private { // else its directory is another one, of which we do not know
		clearNotifyPath(k.dir, p.generation)
	}
	p.close()
	k.Older = slices.DeleteFunc(k.Older, func(o *predecessor) bool { return o == p })
	if k.predecessor == p {
		k.predecessor = nil
	}
	k.settle()
}

func (k *keeper) readSuccessor() {
	m, err := k.successor.receive()
	m.close()
	switch {
	case err == nil && m.kind == msgCommit && k.state == current:
		k.handle(isReplaced)
	case err == nil && m.kind == msgCommit: // of a keeper that had to be replaced
		k.successor.send(message{kind: msgReplaced}) // best effort
	case err == nil && m.kind == msgReserve && k.state == current:
		k.lookAt(m)
	case err == nil && m.kind == msgEnd:
		k.handle(isCrowded)
	case err != nil: // it gave up, or has seen us through
		if k.state == current {
			k.tidy()
		}
		k.successor.close()
		k.successor = nil
		if k.exited && k.state == current {
			k.handle(hasExited)
		}
		k.settle()
	}
}

// lookAt remembers what is where the launcher is going to bind, and the options that
// it is going to change.
func (k *keeper) lookAt(m message) {
	var specs []activation.Spec
	for _, f := range m.fields {
		if spec, err := activation.ParseSpec(f.value); err == nil && f.key == "spec" {
			specs = append(specs, spec)
			if p, ok := activation.LookAt(spec); ok {
				k.reserved = append(k.reserved, p)
			}
		}
	}
	k.foreseen = activation.Foresee(specs, k.Sockets)
	k.successor.send(message{kind: msgReserved}) // best effort: it gives up without
}

// tidy takes back what a launcher left behind that died on its way. Its connection is
// closed a moment before the last of its sockets, which would still answer.
func (k *keeper) tidy() {
	if len(k.reserved) == 0 && len(k.foreseen) == 0 {
		return
	}
	if cred, err := unix.GetsockoptUcred(k.successor.fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
		if p, err := open(int(cred.Pid)); err == nil {
			p.awaitExit(time.Now().Add(second))
			p.close()
		}
	}
	for _, p := range k.reserved {
		if err := p.Tidy(); err != nil {
			k.say("%v", err)
		}
	}
	k.foreseen.PutBack()
	k.reserved, k.foreseen = nil, nil
}
