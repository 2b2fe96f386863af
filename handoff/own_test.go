package handoff

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// storing is a keeper whose server is the test, and what the server speaks to.
func storing(t *testing.T) (*keeper, *notify.Sender) {
	t.Helper()
	dir, err := os.MkdirTemp("", "own")
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{state: current, stageFD: -1}
	k.deafUntil = time.Now().Add(time.Hour) // there is no control socket
	if k.Server, err = open(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	k.main = k.Server
	if k.notifyPath, err = newNotifyPath(dir, 1, true); err != nil {
		t.Fatal(err)
	}
	s, err := notify.Dial(k.notifyPath.store.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		k.notifyPath.remove()
		if _, err := os.Lstat(dir); err == nil {
			t.Error("something is left in the directory")
		}
		for _, d := range k.Own {
			d.close()
		}
		k.Server.close()
	})
	return k, s
}

// says sends a message of these fields and has the keeper handle it.
func says(t *testing.T, k *keeper, s *notify.Sender, text string, fds ...int) {
	t.Helper()
	m, err := notify.Parse([]byte(strings.ReplaceAll(text, " ", "\n")))
	if err != nil {
		t.Fatal(err)
	}
	sendNow(t, s, m, fds...)
	k.await()
}

// owned lists what a keeper holds, with the place of each among fds.
func owned(t *testing.T, k *keeper, fds ...int) string {
	t.Helper()
	var all []string
	for _, d := range k.Own {
		i := slices.IndexFunc(fds, func(fd int) bool { return newDescriptor(fd, d.name, true).is(d) })
		text := fmt.Sprintf("%s:%d", d.name, i)
		if !d.poll {
			text += "!"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// TestServerStoresAsWithSystemd: each message, one after the other, and what is held then.
// A number is the place of the descriptor among three, "!" is FDPOLL=0.
func TestServerStoresAsWithSystemd(t *testing.T) {
	k, s := storing(t)
	fds := []int{newEvent(t), newEvent(t), newEvent(t)}
	checkFDs(t)
	for _, step := range []struct {
		text string
		send []int
		want string
	}{
		{"FDSTORE=1 FDNAME=a", fds[:1], "a:0"},
		{"FDSTORE=1 FDNAME=b", fds[:1], "a:0"}, // a duplicate
		{"FDSTORE=1", fds[1:2], "a:0 stored:1"},
		{"FDSTORE=1 FDPOLL=0 FDNAME=a", fds[2:], "a:0 stored:1 a:2!"},
		{"FDSTOREREMOVE=1 FDNAME=a", nil, "stored:1"},
		{"FDSTOREREMOVE=1 FDNAME=none", nil, "stored:1"},
		{"FDSTOREREMOVE=1", nil, "stored:1"},
		{"FDSTORE=1 FDNAME=a:b", fds[:1], "stored:1 stored:0"}, // no name
		{"FDSTORE=1 FDNAME=flipexec=1,0,0=a", fds[2:], "stored:1 stored:0 stored:2"},
		{"FDSTOREREMOVE=1 FDSTORE=1 FDNAME=stored", fds[2:], ""},
		{"FDSTORE=1", fds[2:], "stored:2"},
		{"FDNAME=a", fds[:1], "stored:2"},
		{"READY=1 STOPPING=1 MAINPID=1", fds[:1], "stored:2"},
		{"FDSTORE=1 FDNAME=", fds[:2], "stored:2 :0 :1"},
		{"FDSTOREREMOVE=1 FDNAME=", nil, "stored:2"},
		{"FDSTOREREMOVE=1 FDNAME=stored", nil, ""},
	} {
		says(t, k, s, step.text, step.send...)
		if got := owned(t, k, fds...); got != step.want {
			t.Errorf("%s: got %q, want %q", step.text, got, step.want)
		}
	}
	if k.state != current {
		t.Errorf("generation is %v", k.state)
	}
}

// TestBarrierOfTheStoreIsAnswered, as with systemd.
func TestBarrierOfTheStoreIsAnswered(t *testing.T) {
	k, s := storing(t)
	checkFDs(t)
	done := make(chan error, 1)
	go func() { done <- s.Barrier(time.Now().Add(patience)) }()
	awaitInput(t, k.notifyPath.store.FD())
	k.await()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDescriptorThatHangsUpIsDropped, one that can be read is not, nor does it wake
// anybody; with FDPOLL=0 it stays in any case.
func TestDescriptorThatHangsUpIsDropped(t *testing.T) {
	k, s := storing(t)
	pair := func() [2]int {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	polled, not := pair(), pair()
	for _, fd := range []int{polled[1], not[1]} {
		if _, err := unix.Write(fd, []byte("to be read")); err != nil {
			t.Fatal(err)
		}
	}
	says(t, k, s, "FDSTORE=1 FDNAME=a", polled[0])
	says(t, k, s, "FDSTORE=1 FDPOLL=0 FDNAME=b", not[0])
	if ready, err := poll(k.sources(), []time.Time{time.Now()}); err != nil || len(ready) != 0 {
		t.Errorf("%d sources are ready, %v", len(ready), err)
	}
	unix.Close(polled[1])
	unix.Close(not[1])
	k.await()
	if got, want := owned(t, k, polled[0], not[0]), "b:1!"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if ready, err := poll(k.sources(), []time.Time{time.Now()}); err != nil || len(ready) != 0 {
		t.Errorf("%d sources are ready, %v", len(ready), err)
	}
	unix.Close(polled[0])
	unix.Close(not[0])
}

// TestStoreIsTheServersAlone: nobody else is heard, and it not any more when it drains.
func TestStoreIsTheServersAlone(t *testing.T) {
	k, s := storing(t)
	fd := newEvent(t)
	checkFDs(t)
	server := k.Server
	k.Server, k.main = process{}, process{}
	k.options.StopSignal = unix.SIGTERM
	if says(t, k, s, "FDSTORE=1 FDNAME=a", fd); len(k.Own) != 0 || len(k.said) == 0 {
		t.Errorf("a stranger: got %d descriptors, complaints %v", len(k.Own), k.said)
	}
	k.Server, k.state = server, draining
	if says(t, k, s, "FDSTORE=1 FDNAME=a", fd); len(k.Own) != 0 {
		t.Errorf("in the drain: got %d descriptors", len(k.Own))
	}
	sendNow(t, s, notify.Message{{Key: "FDSTORE", Value: "1"}}, fd) // and is thrown away
	if ready, err := poll(k.sources(), []time.Time{time.Now()}); err != nil || len(ready) != 0 {
		t.Errorf("in the drain: %d sources are ready, %v", len(ready), err)
	}
}

// TestRemovedNameIsNoSocketOfOurs, nor one of a .socket unit: only what systemd brought
// otherwise goes.
func TestRemovedNameIsNoSocketOfOurs(t *testing.T) {
	k, s := storing(t)
	ours, theirs := boundSocket(t, "a"), activation.Socket{FD: boundSocket(t, "b").FD, Name: "b"}
	event := duplicate(t, newEvent(t))
	k.Sockets = []activation.Socket{ours, theirs, {FD: event, Name: "c"}}
	for _, name := range []string{"a", "b", "c"} {
		says(t, k, s, "FDSTOREREMOVE=1 FDNAME="+name)
	}
	if want := []activation.Socket{ours, theirs}; !slices.Equal(k.Sockets, want) {
		t.Errorf("got %+v, want %+v", k.Sockets, want)
	}
	if isOpen(event) {
		t.Error("c is still open")
	}
}

// TestWhatSystemdBroughtIsNotHeldTwice: the server stores again what it was given.
func TestWhatSystemdBroughtIsNotHeldTwice(t *testing.T) {
	k, s := storing(t)
	event := newEvent(t)
	k.Sockets = []activation.Socket{{FD: event, Name: "state"}}
	if says(t, k, s, "FDSTORE=1 FDNAME=state", event); len(k.Own) != 0 {
		t.Errorf("got %q", owned(t, k, event))
	}
}

// TestNoMoreIsHeldThanCanBeGiven: or every reload would fail.
func TestNoMoreIsHeldThanCanBeGiven(t *testing.T) {
	k, s := storing(t)
	fd := newEvent(t)
	k.Sockets = []activation.Socket{{FD: fd, Name: strings.Repeat("n", maxVariable-len("LISTEN_FDNAMES=ab")-2)}}
	other := newEvent(t)
	says(t, k, s, "FDSTORE=1 FDNAME=abc", other)
	if got := owned(t, k, other); got != "" || len(k.said) != 1 {
		t.Errorf("too long: got %q, complaints %v", got, k.said)
	}
	says(t, k, s, "FDSTORE=1 FDNAME=ab", other)
	if got := owned(t, k, other); got != "ab:0" {
		t.Errorf("got %q", got)
	}
	k.removeOwn("ab")
}

// TestManyThatHangUpAreOneEvent.
func TestManyThatHangUpAreOneEvent(t *testing.T) {
	k, s := storing(t)
	var ends []int
	for range 100 {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		says(t, k, s, "FDSTORE=1", p[0])
		unix.Close(p[0])
		ends = append(ends, p[1])
	}
	if len(k.Own) != len(ends) {
		t.Fatalf("got %d descriptors, want %d", len(k.Own), len(ends))
	}
	closeAll(ends)
	if k.await(); len(k.Own) != 0 {
		t.Errorf("%d descriptors are left", len(k.Own))
	}
}

// TestConnectionOfAnEarlierRunIsTheServersOwn: systemd gives it back among the sockets,
// which have no other end.
func TestConnectionOfAnEarlierRunIsTheServersOwn(t *testing.T) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(p[:])
	listener, memory := activation.Socket{FD: boundSocket(t, "a").FD, Name: "web.socket"}, activation.Socket{FD: newEvent(t), Name: "state"}
	events, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(events)
	netlink := activation.Socket{FD: events, Name: "events"}
	sockets, own := ownConnections([]activation.Socket{listener, {FD: p[0], Name: "client"}, memory, netlink})
	if want := []activation.Socket{listener, memory, netlink}; !slices.Equal(sockets, want) {
		t.Errorf("sockets: got %+v, want %+v", sockets, want)
	}
	if want := []descriptor{newDescriptor(p[0], "client", true)}; !slices.Equal(own, want) {
		t.Errorf("own: got %+v, want %+v", own, want)
	}
}

// TestNewServerStoresWithTheManagerToo: what it said before it reached the manager itself
// goes on by its launcher, as it was, and nothing else does that way.
func TestNewServerStoresWithTheManagerToo(t *testing.T) {
	k, _ := storing(t)
	path := filepath.Join(t.TempDir(), "manager")
	manager, err := notify.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	l := &launcher{}
	if l.manager, err = notify.Dial(path); err != nil {
		t.Fatal(err)
	}
	defer l.manager.Close()
	l.keeperChannel, k.launcher = channelPair(t)
	defer l.keeperChannel.close()
	defer k.launcher.close()
	k.state = starting
	s, err := notify.Dial(k.notifyPath.link)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fd := newEvent(t)
	for _, text := range []string{"STATUS=a FDSTORE=1 FDPOLL=0 FDNAME=a", "FDSTOREREMOVE=1 FDNAME=b", "STATUS=c"} {
		fds := []int{fd}
		if !strings.Contains(text, "FDSTORE=1") {
			fds = nil
		}
		says(t, k, s, text, fds...)
		m, err := l.keeperChannel.receive()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.heed(&m); err != nil {
			t.Fatal(err)
		}
		m.close()
	}
	if got, want := owned(t, k, fd), "a:0!"; got != want {
		t.Errorf("the keeper holds %q, want %q", got, want)
	}
	if told := said(t, manager); !strings.HasPrefix(told, "STATUS=") || strings.Contains(told, "FD") {
		t.Errorf("before it is current, the manager heard %q", told)
	}
	l.passRequests()
	if got, want := storeTraffic(t, manager), []string{"+a", "-b"}; !slices.Equal(got, want) {
		t.Errorf("the manager was told %q, want %q", got, want)
	}
}
