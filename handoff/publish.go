package handoff

import (
	"fmt"
	"strconv"
	"time"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/notify"
	"github.com/flipexec/flipexec/pidfile"
)

// publish makes the new server known (row 9): first the PID file, because systemd
// reads it whenever a main process exits or a reload ends and believes it; then
// the main PID, in one datagram with readiness; then a barrier, because until the
// manager has taken the main PID the old server must not be told to stop.
func (l *launcher) publish() (err error) {
	if !l.main.running() {
		return fmt.Errorf("server %s as soon as it was ready", l.main.fate())
	}
	if l.options.PIDFile != "" {
		if l.pidFile, err = pidfile.Write(l.options.PIDFile, l.main.pid); err != nil {
			return err
		}
	}
	if err := l.keeperChannel.send(message{kind: msgAnnounce}); err != nil {
		return fmt.Errorf("its keeper died: %w", err)
	}
	if err := l.manager.Send(l.announcement(), time.Now().Add(publishTime)); err != nil {
		return fmt.Errorf("tell the manager the main PID: %w", err)
	}
	if err := l.manager.Barrier(time.Now().Add(publishTime)); err != nil {
		// The message is in its queue, in front of whatever the old
		// server will say, and it will take it before it learns of
		// that one's exit: going on is safe, and going back is not.
		say("generation %d: the manager has not confirmed the main PID: %v", l.Generation, err)
	}
	return nil
}

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

// awaitDone is rows 10 to 13. Once the keeper has heard that its generation is
// published there is no way back; until then a server that dies takes the
// announcement with it.
func (l *launcher) awaitDone() error {
	err := l.keeperChannel.send(message{kind: msgPublished})
	deadline := time.Now().Add(2 * patience)
	for err == nil {
		var m message
		if m, err = l.hear(deadline); err != nil {
			break
		}
		m.close()
		switch m.kind {
		case msgNotify:
			l.passAll(m.get("text"))
		case msgFailed:
			l.takeBack()
			return refusal(m)
		case msgDone:
			l.pidFile = nil
			return nil
		}
	}
	l.pidFile = nil
	if !l.main.running() { // and the keeper has seen to the rest, or nobody can
		return fmt.Errorf("server %s as soon as it was published", l.main.fate())
	}
	l.commitAlone(err)
	return nil
}

// takeBack makes the previous server the main process again: its keeper has not
// been told anything. The manager may have refused ours already, because it was
// dead; if not, it still listens to us.
func (l *launcher) takeBack() {
	l.restorePIDFile() // first, as in publish
	if l.predecessor == nil || !l.previous.running() {
		return
	}
	l.tellManager(notify.Message{
		{Key: "MAINPID", Value: strconv.Itoa(l.previous.pid)},
		{Key: "READY", Value: "1"},
		{Key: "STATUS", Value: fmt.Sprintf("generation %d: pid %d", l.Generation-1, l.previous.pid)},
	})
	if err := l.manager.Barrier(time.Now().Add(publishTime)); err != nil {
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

// commitAlone ends the previous generation when the new keeper died at the last
// moment: there must not be two.
func (l *launcher) commitAlone(cause error) {
	say("generation %d serves, but %v; hint: the next reload needs systemctl restart", l.Generation, cause)
	path := notifyPath{link: notifyLink(l.dir, l.Generation)}
	if err := path.leadTo(value(l.env, "NOTIFY_SOCKET")); err != nil {
		say("generation %d: notify path: %v", l.Generation, err)
	}
	for _, s := range l.Dropped {
		s.Unlink()
	}
	if l.predecessor == nil {
		return
	}
	o, err := finishOptions(l.finish)
	if err != nil {
		o = l.options
	}
	p := predecessor{keeper: l.predecessor, server: l.previous, options: o}
	if p.commit(); p.keeper != nil {
		p.readAnswer()
	}
	l.predecessor = nil
}
