package handoff

import (
	"fmt"
	"strconv"
	"time"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/notify"
	"github.com/flipexec/flipexec/pidfile"
	"golang.org/x/sys/unix"
)

// publish makes the new server known (row 9): first the PID file, because systemd
// reads it whenever a main process exits or a reload ends and believes it; then
// the main PID, in one datagram with readiness; then a barrier, because until the
// manager has taken the main PID the old server must not be told to stop. The sockets
// take changed options before all that: it may fail, and can be undone.
func (l *launcher) publish() (err error) {
	reached("ready heard")
	if l.main.dead() {
		return l.tooShort()
	}
	if err := l.changed.Apply(); err != nil {
		return err
	}
	if l.options.PIDFile != "" {
		if l.pidFile, err = pidfile.Write(l.options.PIDFile, l.main.pid); err != nil {
			return err
		}
	}
	reached("PID file written")
	if l.predecessor == nil { // afterwards the manager listens to the server, and not to us
		l.updateStore()
		l.passRequests()
	}
	if err := l.announce(); err != nil {
		return err
	}
	reached("announced")
	if err := l.awaitManager(); err != nil {
		// The message is in its queue, in front of whatever the old
		// server will say, and it will take it before it learns of
		// that one's exit: going on is safe, and going back is not.
		say("generation %d: the manager has not confirmed the main PID: %v", l.Generation, err)
	}
	reached("confirmed")
	if l.main.dead() { // perhaps it was when the manager looked, which then has not followed it
		l.takeBack()
		return l.tooShort()
	}
	if l.predecessor != nil { // from here on the new set is the one to keep
		l.updateStore()
	}
	return nil
}

func (l *launcher) tooShort() error {
	return fmt.Errorf("server %s as soon as it was ready", l.main.fate())
}

// awaitManager waits until the manager has taken what was sent.
func (l *launcher) awaitManager() error {
	if l.manager == nil {
		return nil
	}
	return l.manager.Barrier(time.Now().Add(publishTime))
}

// announce tells the manager the main PID, and in the same instant the keeper that
// it has been told: there is no way back from here. A manager that reads the PID file
// instead may have done so already.
func (l *launcher) announce() error {
	if l.manager == nil {
		l.keeperChannel.send(message{kind: msgAnnounced}) // best effort, as below
		return nil
	}
	witness := (&notifyPath{link: notifyLink(l.dir, l.Generation)}).file()
	witnessed, err := l.manager.SendWitnessed(l.announcement(), witness, announcedNote, time.Now().Add(publishTime))
	if err != nil {
		return fmt.Errorf("tell the manager the main PID: %w", err)
	}
	if !witnessed { // the queue is full, or the keeper dead
		l.keeperChannel.send(message{kind: msgAnnounced}) // best effort: a dead keeper is replaced
	}
	return nil
}

// announcedNote is what a launcher sends to its keeper's notify socket. The manager
// would ignore it.
var announcedNote = notify.Message{{Key: "X_FLIPEXEC_ANNOUNCED", Value: "1"}}

func (l *launcher) announcement() notify.Message {
	status := l.status
	if status == "" {
		status = fmt.Sprintf("pid %d", l.main.pid)
	}
	m := notify.Message{{Key: "MAINPID", Value: strconv.Itoa(l.main.pid)}}
	if id, err := activation.PIDFDID(l.main.fd); err == nil && id != 0 {
		m = append(m, notify.Field{Key: "MAINPIDFDID", Value: strconv.FormatUint(id, 10)})
	}
	m = append(m, notify.Field{Key: "READY", Value: "1"},
		notify.Field{Key: "STATUS", Value: fmt.Sprintf("generation %d: %s", l.Generation, status)})
	if l.Watchdog != "" { // a full interval for the new server
		m = append(m, notify.Field{Key: "WATCHDOG", Value: "1"})
	}
	if l.watchdogUSEC != "" {
		m = append(m, notify.Field{Key: "WATCHDOG_USEC", Value: l.watchdogUSEC})
	}
	return m
}

// awaitDone is rows 10 to 13. There is no way back by now, except that a server
// that dies before its keeper has sent the commit takes the announcement with it.
func (l *launcher) awaitDone() error {
	l.keeperChannel.send(l.published()) // best effort: whether it lives shows below
	deadline := time.Now().Add(2 * patience)
	for {
		m, err := l.hear(deadline)
		if err != nil {
			return l.goOnWithout(err)
		}
		if m.kind == msgNotify {
			l.noteRequest(&m)
		}
		m.close()
		switch m.kind {
		case msgNotify:
			l.passAll(m.get("text"))
		case msgFailed:
			l.takeBack()
			return refusal(m)
		case msgDone:
			reached("done heard")
			if l.predecessor != nil { // else the manager listens to the server alone by now
				l.passRequests()
			}
			l.report("generation %d current pid=%d", l.Generation, l.main.pid)
			l.pidFile = nil
			return nil
		}
	}
}

// published tells the keeper that the manager follows the server, and what it keeps.
func (l *launcher) published() message {
	m := message{kind: msgPublished}
	for _, s := range l.Sockets {
		if s.Spec != "" { // of the others the server may have let some go
			m.add("stored", s.Stored)
		}
	}
	for _, name := range l.Forget {
		m.add("forget", name)
	}
	return m
}

// goOnWithout replaces a keeper that has died or hangs, once.
func (l *launcher) goOnWithout(cause error) error {
	if !l.main.running() { // and the manager sees to the rest
		l.pidFile = nil
		return fmt.Errorf("server %s as soon as it was published", l.main.fate())
	}
	if !l.keeperReplaced {
		l.keeperReplaced = true
		say("generation %d: %v", l.Generation, cause)
		l.keeper.signal(unix.SIGKILL) // best effort: it has left, or hangs
		l.keeper.awaitExit(time.Now().Add(patience))
		l.keeperChannel.close()
		if cause = l.startKeeper(); cause == nil {
			return l.awaitDone()
		}
	}
	l.pidFile = nil
	say("generation %d serves, but it has no keeper: %v; hint: the next reload needs systemctl restart", l.Generation, cause)
	l.commitAlone()
	return nil
}

// takeBack makes the previous server the main process again: its keeper has not
// been told anything. The manager may have refused ours already, because it was
// dead; if not, it still listens to us.
func (l *launcher) takeBack() {
	l.restorePIDFile() // first, as in publish
	if l.predecessor == nil || !l.predecessor.server.running() {
		return
	}
	l.tellManager(notify.Message{
		{Key: "MAINPID", Value: strconv.Itoa(l.predecessor.server.pid)},
		{Key: "READY", Value: "1"},
		l.predecessor.status(),
	})
	l.putBackStore()
	if err := l.awaitManager(); err != nil {
		say("notify manager: %v", err)
	}
}

// passAll tells the manager what the server said to its keeper after it was
// published and before it could reach the manager itself.
func (l *launcher) passAll(text string) {
	m, err := notify.Parse([]byte(text))
	if err != nil {
		return
	}
	var rest notify.Message
	for _, f := range m {
		switch f.Key { // a server that stops or reloads says so by itself, or exits
		case "STATUS", "ERRNO", "WATCHDOG", "WATCHDOG_USEC", "EXTEND_TIMEOUT_USEC":
			rest = append(rest, f)
		}
	}
	if len(rest) > 0 {
		l.tellManager(rest)
	}
}

// commitAlone does what is left of a keeper's part: there must not be two
// generations, and the server's watchdog must reach the manager.
func (l *launcher) commitAlone() {
	if l.manager != nil {
		path := notifyPath{link: notifyLink(l.dir, l.Generation)}
		if err := path.leadTo(l.managerPath); err != nil {
			say("generation %d: notify path: %v", l.Generation, err)
		}
	}
	l.changeOver(say)
	if p := l.predecessor; p != nil {
		if p.commit(); p.keeper != nil {
			p.readAnswer()
		}
	}
	l.passRequests()
}
