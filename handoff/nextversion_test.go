package handoff

import (
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// near is what the next version speaks, and far what one speaks that has given up
// ours.
var near, far = versions{least: 1, own: 2}, versions{least: 2, own: 3}

// newEvent is a descriptor on which nothing ever happens.
func newEvent(t *testing.T) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// control is a control socket in a runtime directory of its own.
type control struct {
	env    []string
	socket activation.Socket
}

func startControl(t *testing.T) control {
	t.Helper()
	c := control{env: []string{"RUNTIME_DIRECTORY=" + t.TempDir()}}
	var err error
	if c.socket, err = bindControl(c.env); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.socket.Close() })
	return c
}

// accept is the other end of a launcher's connection.
func (c control) accept(t *testing.T) *channel {
	t.Helper()
	awaitInput(t, c.socket.FD)
	peer, err := acceptControl(c.socket.FD)
	if err != nil {
		t.Fatal(err)
	}
	return peer
}

func awaitInput(t *testing.T, fd int) {
	t.Helper()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000); n != 1 {
		t.Fatalf("poll: got %d, %v", n, err)
	}
}

// startReload has a launcher meet whoever has the control socket.
func startReload(t *testing.T, env []string) (*launcher, <-chan error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := notify.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { manager.Close() })
	l := &launcher{env: env}
	if l.manager, err = notify.Dial(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.manager.Close() })
	outcome := make(chan error, 1)
	go func() { outcome <- l.meetPredecessor() }()
	return l, outcome
}

// startCurrent is a keeper whose generation is current, with a control socket and a
// server that runs.
func startCurrent(t *testing.T) (k *keeper, env []string) {
	t.Helper()
	c := startControl(t)
	k = &keeper{estate: goldenEstate(newSocket(t)), state: current, stageFD: -1}
	k.options = Options{StopSignal: unix.SIGQUIT, DrainTimeout: 90 * second}
	k.Server = hold(t, exec.Command("sleep", "60"))
	k.main = process{4242, k.Server.fd}
	// What the keeper has it closes.
	for i := range k.Sockets {
		k.Sockets[i].FD = duplicate(t, k.Sockets[i].FD)
	}
	for i := range k.Own {
		k.Own[i].fd = duplicate(t, newEvent(t)) // which does not hang up
	}
	for _, p := range k.Older {
		p.server.fd = duplicate(t, p.server.fd)
		if p.keeper != nil {
			p.keeper.fd = duplicate(t, p.keeper.fd)
		}
	}
	k.Control.FD = duplicate(t, c.socket.FD)
	var err error
	if k.notifyPath, err = newNotifyPath(t.TempDir(), k.Generation, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		k.notifyPath.remove()
		if k.spare > 0 {
			unix.Close(k.spare)
		}
		if k.successor != nil {
			k.successor.close()
		}
		if k.state == current {
			k.estate.Server = process{} // closed by hold
			k.estate.close()
		}
	})
	return k, c.env
}

func duplicate(t *testing.T, fd int) int {
	t.Helper()
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// connect is a launcher's end of a connection that the keeper has accepted.
func connect(t *testing.T, k *keeper, env []string) *channel {
	t.Helper()
	us, err := connectControl(env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(us.close)
	k.await()
	return us
}

func send(t *testing.T, c *channel, m message) {
	t.Helper()
	if err := c.send(m); err != nil {
		t.Fatal(err)
	}
}

// ask sends a request and is told the answer, whose descriptors are closed.
func ask(t *testing.T, k *keeper, us *channel, request message) message {
	t.Helper()
	send(t, us, request)
	k.await()
	answer, err := us.receive()
	if err != nil {
		t.Fatal(err)
	}
	answer.close()
	return answer
}

func newMessage(kind string, v versions) message {
	m := message{kind: kind}
	v.appendTo(&m)
	return m
}

// later is what a message of a later version may have: one field more at each end,
// each with a descriptor beside it.
func later(t *testing.T, m message) message {
	t.Helper()
	l := message{kind: m.kind}
	l.add("colour", "blue")
	l.addFD("thing", "x", newEvent(t))
	l.fields = append(l.fields, m.fields...)
	l.add("shape", "round")
	l.addFD("other", "", newEvent(t))
	return l
}

func TestLauncherOfTheNextVersionIsServed(t *testing.T) {
	for name, v := range map[string]versions{"of our version with unknown fields": spoken, "that still speaks ours": near} {
		t.Run(name, func(t *testing.T) {
			checkFDs(t)
			k, env := startCurrent(t)
			us := connect(t, k, env)
			answer := ask(t, k, us, later(t, newMessage(msgReload, v)))
			if got, err := versionsFrom(answer); answer.kind != msgEstate || err != nil || got != spoken {
				t.Fatalf("got %q of %v, %v, want %q of %v", answer.kind, got, err, msgEstate, spoken)
			}
			send(t, us, later(t, message{kind: "dance"}))
			k.await()
			if k.state != current || k.successor == nil {
				t.Fatalf("an unknown message: got state %v, successor %v", k.state, k.successor)
			}
			if m := ask(t, k, us, later(t, message{kind: msgCommit})); m.kind != msgReplaced || k.state != draining {
				t.Errorf("got %q in state %v, want %q in %v", m.kind, k.state, msgReplaced, draining)
			}
		})
	}
}

func TestLauncherThatCannotBeUnderstoodIsRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		request message
		want    string
	}{
		"unknown message": {newMessage("dance", near), `unknown request "dance"`},
		"far version": {newMessage(msgReload, far),
			"the running generation speaks version 1 of the control protocol, this flipexec versions 2 to 3; hint: systemctl restart"},
		"no number":   {newMessage(msgReload, versions{}), `message "reload": version="0" is no number`},
		"upside down": {newMessage(msgReload, versions{least: 2, own: 1}), `message "reload": least="2" is no version up to 1`},
	} {
		t.Run(name, func(t *testing.T) {
			checkFDs(t)
			k, env := startCurrent(t)
			us := connect(t, k, env)
			answer := ask(t, k, us, later(t, c.request))
			if answer.kind != msgRefused {
				t.Errorf("got %q, want %q", answer.kind, msgRefused)
			}
			err := refusal(answer)
			checkError(t, "refusal", err, c.want)
			if got := ExitCode(err); got != ExitFailed {
				t.Errorf("got exit code %d, want %d", got, ExitFailed)
			}
			if m, err := us.receive(); err != io.EOF {
				t.Errorf("after the refusal: got %q, %v, want %v", m.kind, err, io.EOF)
			}
			// The keeper serves the next one.
			us = connect(t, k, env)
			if m := ask(t, k, us, newMessage(msgReload, spoken)); m.kind != msgEstate || k.state != current {
				t.Errorf("the next launcher: got %q in state %v, want %q", m.kind, k.state, msgEstate)
			}
		})
	}
}

// answerReload plays the running keeper to a real launcher.
func answerReload(t *testing.T, answer message) (*launcher, error) {
	t.Helper()
	c := startControl(t)
	l, outcome := startReload(t, c.env)
	peer := c.accept(t)
	receiveRecords(t, peer)
	send(t, peer, answer)
	err := <-outcome
	peer.close()
	return l, err
}

// newEstate is the answer of a keeper that speaks v.
func newEstate(t *testing.T, v versions) message {
	t.Helper()
	m := newMessage(msgEstate, v)
	e := goldenEstate(newSocket(t))
	e.Server = process{4242, newEvent(t)}
	e.appendTo(&m)
	m.add("stop-signal", "QUIT")
	m.add("drain-timeout", "1m30s")
	return m
}

func TestKeeperOfTheNextVersionIsReplaced(t *testing.T) {
	for name, v := range map[string]versions{"of our version with unknown fields": spoken, "that still speaks ours": near} {
		t.Run(name, func(t *testing.T) {
			checkFDs(t)
			l, err := answerReload(t, later(t, newEstate(t, v)))
			if err != nil {
				t.Fatal(err)
			}
			checkTakenOver(t, l)
		})
	}
}

func TestKeeperThatCannotBeUnderstoodIsLeftAloneByName(t *testing.T) {
	refused := newMessage(msgRefused, far)
	refused.add("reason", "the moon is full")
	refused.add("code", "3")
	for name, c := range map[string]struct {
		answer message
		want   string
		code   int
	}{
		"unknown message": {newMessage("dance", near), `control socket: message "dance" was not expected`, ExitFailed},
		"far version": {newEstate(t, far),
			"control socket: the running generation speaks versions 2 to 3 of the control protocol, this flipexec version 1; hint: systemctl restart", ExitFailed},
		"no number":       {newEstate(t, versions{}), `control socket: message "estate": version="0" is no number`, ExitFailed},
		"its own refusal": {refused, "the moon is full", ExitBusy},
	} {
		t.Run(name, func(t *testing.T) {
			checkFDs(t)
			l, err := answerReload(t, later(t, c.answer))
			checkError(t, "meet", err, c.want)
			if got := ExitCode(err); got != c.code {
				t.Errorf("got exit code %d, want %d", got, c.code)
			}
			if l.predecessor != nil {
				t.Error("the launcher has a predecessor")
			}
		})
	}
}

func TestReplacedKeeperOfTheNextVersionMaySayMore(t *testing.T) {
	checkFDs(t)
	us, its := channels(t)
	defer us.close()
	p := predecessor{keeper: us, server: process{4242, newEvent(t)}}
	send(t, its, later(t, message{kind: "dance"}))
	if p.readAnswer(); p.told || p.keeper == nil {
		t.Errorf("an unknown message: got told %v, keeper %v, want it to be waited for", p.told, p.keeper)
	}
	send(t, its, later(t, message{kind: msgReplaced}))
	if p.readAnswer(); !p.told || p.keeper == nil {
		t.Errorf("got told %v, keeper %v, want told", p.told, p.keeper)
	}
	its.close()
}

func TestPeersSpeakTheLowerOfTheirHighestVersions(t *testing.T) {
	for _, c := range []struct {
		keeper, launcher versions
		ok               bool
	}{
		{versions{1, 1}, versions{1, 1}, true},
		{versions{1, 1}, versions{1, 9}, true},
		{versions{1, 9}, versions{1, 1}, true},
		{versions{2, 3}, versions{3, 4}, true},
		{versions{3, 4}, versions{2, 3}, true},
		{versions{1, 2}, versions{3, 4}, false},
		{versions{3, 4}, versions{1, 2}, false},
	} {
		if err := agree(c.keeper, c.launcher); (err == nil) != c.ok {
			t.Errorf("keeper %v, launcher %v: got %v, want agreed %v", c.keeper, c.launcher, err, c.ok)
		}
	}
}

// FuzzVersions: what a peer speaks is refused or comes back as it was, and two that
// agree have a version in common. Invariant I10.
func FuzzVersions(f *testing.F) {
	f.Add("1", "1")
	f.Add("3", "2")
	f.Add("2147483647", "1")
	f.Add("2147483648", "1")
	f.Add("1", "2")
	f.Add("01", "+1")
	f.Add("", "0")
	f.Fuzz(func(t *testing.T, version, least string) {
		m := message{kind: msgReload}
		m.add("version", version)
		m.add("least", least)
		v, err := versionsFrom(m)
		if err != nil {
			if !oneLine(err) {
				t.Fatalf("%q, %q: the error is %q", version, least, err)
			}
			return
		}
		again := newMessage(msgReload, v)
		if !slices.Equal(again.fields, m.fields) || v.least < 1 || v.own < v.least {
			t.Fatalf("%q, %q is %v", version, least, v)
		}
		common := false
		for i := spoken.least; i <= spoken.own; i++ {
			common = common || v.least <= i && i <= v.own
		}
		if agree(spoken, v) == nil != common || agree(v, spoken) == nil != common {
			t.Fatalf("%v and %v agree: want %v", v, spoken, common)
		}
	})
}

// FuzzRefusal: whatever comes instead of an answer, a launcher fails, with the code
// and the reason that it was told. Invariant I10.
func FuzzRefusal(f *testing.F) {
	f.Add(msgRefused, "another handoff is under way", "3")
	f.Add("dance", "", "")
	f.Add(msgFailed, "no", "0")
	f.Add("a\nb", "", "-1")
	f.Add(msgFailed, "no", "256")
	f.Fuzz(func(t *testing.T, kind, reason, code string) {
		m := message{kind: kind}
		m.add("reason", reason)
		m.add("code", code)
		err := refusal(m)
		got := ExitCode(err)
		if err == nil || got < 1 || got > 255 {
			t.Fatalf("%q, %q, %q: got %v, exit code %d", kind, reason, code, err, got)
		}
		if reason == "" {
			if !oneLine(err) {
				t.Fatalf("%q: the error is %q", kind, err)
			}
			return
		}
		again := message{kind: msgRefused}
		again.add("reason", err.Error())
		again.add("code", strconv.Itoa(got))
		if err2 := refusal(again); err.Error() != reason || err2.Error() != reason || ExitCode(err2) != got {
			t.Fatalf("%q, %q is %v, and then %v", reason, code, err, err2)
		}
	})
}
