package handoff

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// takeTurn takes as much of what waits on the notify socket as is fair.
func (f *foreground) takeTurn() {
	f.hear(maxTurn)
	f.heard = true
}

// hear takes up to so many messages.
func (f *foreground) hear(most int) {
	for range most {
		d, err := f.socket.Receive()
		if errors.Is(err, notify.ErrEmpty) {
			return
		}
		if err != nil {
			f.complain("datagram", "notify socket: %.200s", err) // has some of what was sent
		}
		if errors.Is(err, notify.ErrRefused) {
			continue // that was one message
		}
		if err != nil {
			return
		}
		f.note(d)
	}
}

// note weighs one message, as systemd does with NotifyAccess=exec: the main process
// and the launcher are heard, and nobody else.
func (f *foreground) note(d notify.Datagram) {
	byLauncher := f.launch != nil && d.PID == f.launch.pid
	if !byLauncher && (f.main.pid == 0 || d.PID != f.main.pid) {
		f.complain(fmt.Sprintf("uid %d", d.UID), "notify socket: message of pid %d, uid %d, which is neither the server nor a launcher", d.PID, d.UID)
		d.Discard()
		return
	}
	defer closeAll(d.FDs) // answers a BARRIER=1
	starting := f.main.pid == 0
	if text, ok := d.Message.Get("MAINPID"); ok {
		f.follow(text)
	}
	f.passOn(d.Message, byLauncher, starting)
}

// follow makes another process the main one.
func (f *foreground) follow(text string) {
	pid, err := number(text)
	if err != nil {
		f.complain("MAINPID", "MAINPID=%.20q %v", text, err)
		return
	}
	if pid == f.main.pid {
		return
	}
	p, err := open(pid)
	if err != nil || p.dead() || !descends(pid) {
		f.complain("MAINPID", "MAINPID=%d is no living process of ours", pid)
		p.close()
		return
	}
	if group, err := unix.Getpgid(pid); err != nil || group != f.lent {
		f.reclaimTerminal()
	}
	f.former = slices.DeleteFunc(f.former, closeExited)
	if f.main.pid != 0 {
		f.former = append(f.former, f.main)
	}
	f.main, f.exited = p, false
	if f.stopped != 0 {
		f.send(p, f.stopped)
	}
}

// descends reports whether we are an ancestor of the process: with us as subreaper,
// everything that was ever started below us is.
func descends(pid int) bool {
	for pid > 1 {
		st, err := readStat(pid)
		if err != nil {
			return false
		}
		if pid = st.parent; pid == os.Getpid() {
			return true
		}
	}
	return false
}

// passOn tells our own manager what concerns it. The main PID it knows, is ours.
func (f *foreground) passOn(m notify.Message, byLauncher, starting bool) {
	var rest notify.Message
	for _, field := range m {
		switch field.Key {
		case "READY", "RELOADING", "MONOTONIC_USEC":
			// In a handoff we say so, when it is over.
			if f.launch == nil || byLauncher && starting {
				rest = append(rest, field)
			}
		case "FDSTOREREMOVE", "FDNAME":
			if byLauncher && m.Is("FDSTOREREMOVE", "1") { // of a unit whose ExecStart= was another one
				rest = append(rest, field)
			}
		case "STATUS", "ERRNO", "BUSERROR", "VARLINKERROR", "EXIT_STATUS", "STOPPING", "WATCHDOG", "WATCHDOG_USEC", "EXTEND_TIMEOUT_USEC":
			rest = append(rest, field)
		}
	}
	f.tell(rest)
}

// tell is best effort: a manager that does not listen is none the wiser.
func (f *foreground) tell(m notify.Message) {
	if f.outer != nil && len(m) > 0 {
		if err := f.outer.Send(m, time.Now().Add(second)); err != nil {
			f.complain("manager", "notify manager: %v", err)
		}
	}
}

// tellReloading begins what Type=notify-reload wants to hear, sd_notify(3).
func (f *foreground) tellReloading() {
	var now unix.Timespec
	if f.outer == nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return
	}
	f.reloading = true
	f.tell(notify.Message{{Key: "RELOADING", Value: "1"}, {Key: "MONOTONIC_USEC", Value: strconv.FormatInt(now.Nano()/1000, 10)}})
}

// tellReloaded ends it. The protocol has no word for a failure, only for people.
func (f *foreground) tellReloaded(failure string) {
	m := notify.Message{}
	if failure != "" && f.main.pid != 0 {
		m = append(m, notify.Field{Key: "STATUS", Value: clip(fmt.Sprintf("pid %d; reload failed: %s", f.main.pid, failure))})
	}
	if f.reloading {
		m = append(m, notify.Field{Key: "READY", Value: "1"})
	}
	f.reloading = false
	f.tell(m)
}
