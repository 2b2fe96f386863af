package handoff

import (
	"fmt"
	"strconv"
)

// versions are those of the control protocol that a program speaks, from the
// least to its own.
type versions struct{ least, own int }

// spoken is what this program speaks. Its own version rises when an older peer
// would misunderstand; what a peer can ignore is a new field. The least rises when
// a version is spoken no more.
var spoken = versions{least: 1, own: 1}

func (v versions) appendTo(m *message) {
	m.add("version", strconv.Itoa(v.own))
	m.add("least", strconv.Itoa(v.least))
}

// versionsFrom reads what appendTo wrote.
func versionsFrom(m message) (v versions, err error) {
	if v.own, err = number(m.get("version")); err != nil {
		return v, fmt.Errorf("message %q: version=%q %w", m.kind, m.get("version"), err)
	}
	if v.least, err = number(m.get("least")); err != nil || v.least > v.own {
		return v, fmt.Errorf("message %q: least=%q is no version up to %d", m.kind, m.get("least"), v.own)
	}
	return v, nil
}

// agree wants a version that both speak; they speak the highest such.
func agree(keeper, launcher versions) error {
	if keeper.least <= launcher.own && launcher.least <= keeper.own {
		return nil
	}
	return fmt.Errorf("the running generation speaks %v of the control protocol, this flipexec %v; hint: systemctl restart", keeper, launcher)
}

func (v versions) String() string {
	if v.least == v.own {
		return fmt.Sprintf("version %d", v.own)
	}
	return fmt.Sprintf("versions %d to %d", v.least, v.own)
}

// The kinds of messages. Between a launcher and the running keeper, over the
// control socket:
const (
	msgReload   = "reload"   // launcher: versions
	msgEstate   = "estate"   // keeper: versions, the fields of an estate, stop-signal, drain-timeout
	msgReserve  = "reserve"  // launcher: specs, whose paths it is going to bind
	msgReserved = "reserved" // keeper: should you die, I tidy up
	msgRefused  = "refused"  // keeper: versions, reason, code
	msgCommit   = "commit"   // new keeper: you have been replaced
	msgReplaced = "replaced" // keeper: my server has been told to stop
	msgEnd      = "end"      // a later keeper: too many generations drain, end yours
)

// Between a launcher and the keeper that it started, over a socket pair:
const (
	msgStart     = "start"     // launcher: the fields of an estate, and those of runKeeper
	msgStarted   = "started"   // keeper: @server
	msgNotify    = "notify"    // keeper: text, what the server said; @descriptor with FDSTORE=1
	msgProbation = "probation" // keeper: time, for which it will be silent
	msgReady     = "ready"     // keeper: @server
	msgFailed    = "failed"    // keeper: reason, code; it ends the generation and leaves
	msgAnnounced = "announced" // launcher: the manager was told the main PID
	msgPublished = "published" // launcher: the manager follows the new server; stored for each socket, forget
	msgAbort     = "abort"     // launcher: end the generation and leave
	msgDone      = "done"      // keeper: the generation is current
)

// Between `flipexec reload`, a foreground process and its launchers:
const (
	msgHandoff  = "handoff"  // reload: versions, manager, arguments for the launcher
	msgProgress = "progress" // launcher, and on to reload: text
	msgResult   = "result"   // launcher: text, why it failed; on to reload: that and code
)
