package handoff

import (
	"slices"
	"testing"
	"time"

	"github.com/flipexec/flipexec/notify"
)

// addressee is a starting keeper with nothing but a notify socket, to which no process
// belongs, and more messages in its queue than it handles in one go.
func addressee(t *testing.T) (*keeper, *notify.Sender) {
	t.Helper()
	k := &keeper{state: starting, stageFD: -1}
	k.Server.pid = -1
	var err error
	if k.notifyPath, err = newNotifyPath(t.TempDir(), 1, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.notifyPath.remove)
	s, err := notify.Dial(k.notifyPath.link)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for range maxTurn + 1 {
		tell(t, s)
	}
	return k, s
}

func tell(t *testing.T, s *notify.Sender) {
	t.Helper()
	if err := s.Send(notify.Message{{Key: "READY", Value: "1"}}, time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
}

// TestStrangersWaitWhileOthersAreServed: there may be no end to what they send. The
// deadline has passed, and comes before the rest of it.
func TestStrangersWaitWhileOthersAreServed(t *testing.T) {
	k, _ := addressee(t)
	k.deadline = time.Now()
	k.await() // what was said before the deadline counts
	if k.state != starting || !k.heard {
		t.Fatalf("generation is %v, heard %v", k.state, k.heard)
	}
	if k.await(); k.state != gone {
		t.Errorf("generation is still %v", k.state)
	}
	if k.heard {
		t.Error("the next turn is still not the server's")
	}
	if _, err := k.notifyPath.socket.Receive(); err != nil {
		t.Errorf("the last message: %v", err)
	}
}

// TestNothingIsLeftWhenThePathLeadsElsewhere: all of the queue is taken, and nothing
// comes after it.
func TestNothingIsLeftWhenThePathLeadsElsewhere(t *testing.T) {
	k, s := addressee(t)
	k.receiveLast()
	tell(t, s)
	if d, err := k.notifyPath.socket.Receive(); err != notify.ErrEmpty {
		t.Errorf("got %q, %v", d.Message, err)
	}
}

// TestServerIsHeardBeforeItsExit, but not while there is no end to what is said.
func TestServerIsHeardBeforeItsExit(t *testing.T) {
	k := &keeper{state: starting, stageFD: -1, main: process{pid: 1, fd: 0}}
	var err error
	if k.notifyPath, err = newNotifyPath(t.TempDir(), 1, false); err != nil {
		t.Fatal(err)
	}
	defer k.notifyPath.remove()
	for _, k.heard = range []bool{false, true} {
		var order []int
		for _, s := range k.sources() {
			order = append(order, s.fd)
		}
		said, stored := k.notifyPath.socket.FD(), k.notifyPath.store.FD()
		want := []int{said, k.main.fd, stored}
		if k.heard { // so that there is an end to waiting at the store as well
			want = []int{k.main.fd, stored, said}
		}
		if !slices.Equal(order, want) {
			t.Errorf("heard %v: got the order %v, want %v", k.heard, order, want)
		}
	}
}
