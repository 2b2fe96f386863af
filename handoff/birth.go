package handoff

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// startKeeper is row 6.
func (l *launcher) startKeeper() error {
	ours, theirs, err := newChannelPair()
	if err != nil {
		return err
	}
	defer theirs.close()
	own, err := open(os.Getpid())
	if err != nil {
		ours.close()
		return err
	}
	defer own.close()
	if l.main.pid == 0 { // else its server has one
		l.cgroup = newCgroup(l.Generation)
	}
	m := message{kind: msgStart}
	m.addFD("launcher", strconv.Itoa(own.pid), own.fd)
	if parent, ok := openParent(); ok && !l.options.Detach {
		defer parent.close()
		m.addFD("parent", strconv.Itoa(parent.pid), parent.fd)
	}
	l.estate.appendTo(&m)
	m.add("manager", l.managerPath)
	m.add("directory", l.dir)
	m.add("private", strconv.FormatBool(l.private))
	m.add("cgroup", l.cgroup)
	if l.main.pid != 0 { // of a server that has lost its keeper
		m.addFD("main", strconv.Itoa(l.main.pid), l.main.fd)
	}
	if l.keeper, err = l.spawnKeeper(theirs, m.descriptors()); err != nil {
		ours.close()
		return err
	}
	l.keeperChannel = ours
	reached("keeper started")
	if err := l.keeperChannel.send(m); err != nil {
		return err
	}
	reached("estate passed on")
	return nil
}

// spawnKeeper starts a keeper with room for the descriptors that it is going to get.
func (l *launcher) spawnKeeper(c *channel, descriptors int) (process, error) {
	room, err := holdRoom(descriptors)
	if err != nil {
		return process{}, err
	}
	if room >= 0 {
		defer unix.Close(room)
	}
	argv := []string{keeperRole, strconv.Itoa(l.Generation)}
	return spawn(argv, l.env, append(l.stdio[:], c.fd), l.options.Detach)
}

// awaitReady is rows 7 and 8.
func (l *launcher) awaitReady() error {
	deadline := time.Now().Add(l.options.ReadyTimeout + grace) // the keeper's own comes first
	for l.main.pid == 0 {
		m, err := l.hear(deadline)
		if err != nil {
			return err
		}
		more, err := l.heed(&m)
		m.close()
		if err != nil {
			return err
		}
		if until := time.Now().Add(more); until.After(deadline) {
			deadline = until
		}
	}
	return nil
}

// heed takes what the keeper reports of the start, and returns for how long it may
// be silent if the server asked for more time.
func (l *launcher) heed(m *message) (more time.Duration, err error) {
	switch m.kind {
	case msgStarted:
		l.Server, err = takeProcess(m, "server")
		l.reportServer()
	case msgProbation:
		more, err = l.onProbation(m.get("time"))
	case msgReady:
		l.main, err = takeProcess(m, "server")
		l.report("generation %d ready pid=%d", l.Generation, l.main.pid)
	case msgNotify:
		more = l.pass(m.get("text"))
		l.noteRequest(m)
	case msgFailed:
		err = refusal(*m)
	}
	return more, err
}

// onProbation tells the manager, and whoever asks it, why the reload takes its time.
func (l *launcher) onProbation(text string) (more time.Duration, err error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("keeper: probation: %w", err)
	}
	l.probation = true
	l.report("generation %d on probation for %v", l.Generation, d)
	status := l.predecessor.status()
	status.Value += fmt.Sprintf("; generation %d is on probation for %v", l.Generation, d)
	l.tellManager(notify.Message{status})
	l.askForTime(d + grace + launcherTime) // best effort, as in pass
	return d + grace, nil
}

// takeProcess takes a process out of a message.
func takeProcess(m *message, key string) (process, error) {
	pid, err := strconv.Atoi(m.get("@" + key))
	if err != nil || pid < 1 {
		return process{}, fmt.Errorf("message %s: no %s", m.kind, key)
	}
	return process{pid, m.takeFD(key)}, nil
}

// pass keeps what the server says of itself for the announcement, and tells the
// manager how a start goes on. During a reload the manager's words are about the
// running generation, and stay.
func (l *launcher) pass(text string) time.Duration {
	m, err := notify.Parse([]byte(text))
	if err != nil {
		return 0
	}
	if status, ok := m.Get("STATUS"); ok {
		l.status = clip(status)
		if l.predecessor == nil {
			l.tellManager(notify.Message{{Key: "STATUS", Value: fmt.Sprintf("generation %d starting: %s", l.Generation, l.status)}})
		}
	}
	if usec, ok := m.Get("WATCHDOG_USEC"); ok {
		l.watchdogUSEC = usec
	}
	more, ok := extension(m)
	if !ok {
		return 0
	}
	more += grace
	l.askForTime(more + 3*publishTime) // best effort: without it the manager ends the reload
	return more
}

// clip bounds a status, so that what we add to it never makes a message too long.
func clip(status string) string {
	if len(status) <= notify.MaxSize/2 {
		return status
	}
	return strings.ToValidUTF8(status[:notify.MaxSize/2], "")
}

// tellManager sends what may be lost.
func (l *launcher) tellManager(m notify.Message) { l.tellManagerUntil(time.Now().Add(publishTime), m) }

func (l *launcher) tellManagerUntil(deadline time.Time, m notify.Message, fds ...int) {
	if l.manager == nil {
		return
	}
	if err := l.manager.Send(m, deadline, fds...); err != nil {
		say("notify manager: %v", err)
	}
}

// hear is the keeper's next message.
func (l *launcher) hear(deadline time.Time) (message, error) {
	fds := []unix.PollFd{{Fd: int32(l.keeperChannel.fd), Events: unix.POLLIN}}
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return message{}, errors.New("its keeper does not answer")
		}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return message{}, os.NewSyscallError("poll", err)
		}
		if n > 0 {
			break
		}
	}
	m, err := l.keeperChannel.receive()
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
		return m, errors.New("its keeper died")
	}
	return m, err
}
