package handoff

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func channels(t *testing.T) (a, b *channel) {
	t.Helper()
	a, b, err := newChannelPair()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// transfer sends a message through a real channel.
func transfer(t *testing.T, m message) (message, error) {
	t.Helper()
	a, b := channels(t)
	sent := make(chan error, 1)
	go func() {
		err := a.send(m)
		a.close()
		sent <- err
	}()
	got, err := b.receive()
	b.close() // a sender that still waits gets an error
	if serr := <-sent; serr != nil && err == nil {
		t.Fatal(serr)
	}
	return got, err
}

func TestPeerThatHungUpIsTheEnd(t *testing.T) {
	checkFDs(t)
	a, b := channels(t)
	a.close()
	if _, err := b.receive(); !errors.Is(err, io.EOF) {
		t.Errorf("receive: got %v, want %v", err, io.EOF)
	}
	if err := b.send(message{kind: "k"}); !errors.Is(err, unix.EPIPE) {
		t.Errorf("send: got %v, want %v", err, unix.EPIPE)
	}
	b.close()
}

func TestPeerThatDiesWithinAMessageIsTheEnd(t *testing.T) {
	checkFDs(t)
	a, b := channels(t)
	if err := unix.Sendmsg(a.fd, []byte("+k\x00@a=\x00"), unix.UnixRights(a.fd), nil, 0); err != nil {
		t.Fatal(err)
	}
	a.close()
	// The message's own descriptor holds the other end open.
	if err := unix.Shutdown(b.fd, unix.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	if m, err := b.receive(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, %v, want %v", m, err, io.EOF)
	}
	b.close()
}

// TestGarbageIsRefusedWithItsDescriptors: invariant I10, on a real socket.
func TestGarbageIsRefusedWithItsDescriptors(t *testing.T) {
	checkFDs(t)
	a, b := channels(t)
	defer a.close()
	defer b.close()
	for _, data := range []string{"garbage", ".k\x00a=b\x00", "\x00"} {
		if err := unix.Sendmsg(a.fd, []byte(data), unix.UnixRights(a.fd, b.fd), nil, 0); err != nil {
			t.Fatal(err)
		}
		if m, err := b.receive(); err == nil {
			t.Errorf("%q was taken as %v", data, m)
		}
	}
}

func TestReceivedDescriptorsAreCloseOnExec(t *testing.T) {
	checkFDs(t)
	m := message{kind: "k"}
	m.addFD("a", "", 0)
	got, err := transfer(t, m)
	if err != nil {
		t.Fatal(err)
	}
	defer got.close()
	flags, err := unix.FcntlInt(uintptr(got.fields[0].fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("got flags %#x, %v, want FD_CLOEXEC", flags, err)
	}
}

func TestMessageThatIsTooLargeIsRefused(t *testing.T) {
	checkFDs(t)
	m := message{kind: "k"}
	for range maxMessage/(64<<10) + 2 {
		m.add("a", strings.Repeat("x", 64<<10))
	}
	m.addFD("b", "", 0)
	_, err := transfer(t, m)
	checkError(t, "too large", err, "message k is too large")
}

func TestLongestArgumentsArrive(t *testing.T) {
	checkFDs(t)
	m := message{kind: "k"}
	m.add("argument", strings.Repeat("a", recordSize-20)) // shares its record with the next
	m.add("argument", strings.Repeat("b", 128<<10-1))     // MAX_ARG_STRLEN, execve(2)
	m.add("argument", strings.Repeat("c", 128<<10-1))
	got, err := transfer(t, m)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range m.fields {
		if got.fields[i] != f {
			t.Errorf("argument %d is another", i)
		}
	}
}

func TestCutOffDescriptorsAreAnError(t *testing.T) {
	checkFDs(t)
	a, b := channels(t)
	defer a.close()
	defer b.close()
	m := message{kind: "k"}
	for range fewDescriptors { // or they are announced
		m.addFD("a", "", 0)
	}
	if err := a.send(m); err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	lower := unix.Rlimit{Cur: uint64(countFDs(t) + 30), Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lower); err != nil {
		t.Fatal(err)
	}
	_, err := b.receive()
	if rerr := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); rerr != nil {
		t.Fatal(rerr)
	}
	if !errors.Is(err, unix.EMFILE) {
		t.Errorf("got %v, want %v", err, unix.EMFILE)
	}
}

// FuzzRights: no control data crashes the reader, and every descriptor in it is
// found: one that is overlooked stays open. Invariant I10.
func FuzzRights(f *testing.F) {
	f.Add(unix.UnixRights(5, 6), uint8(3))
	f.Add(append(unix.UnixRights(5), unix.UnixRights(6, 7)...), uint8(253))
	f.Add(unix.UnixCredentials(&unix.Ucred{Pid: 1}), uint8(1))
	f.Add(unix.UnixRights(5)[:15], uint8(0))
	f.Fuzz(func(t *testing.T, oob []byte, n uint8) {
		sent := make([]int, n)
		for i := range sent {
			sent[i] = 1000 + i
		}
		if got, err := rights(unix.UnixRights(sent...)); err != nil || !slices.Equal(got, sent) {
			t.Fatalf("%d came back as %d, %v", sent, got, err)
		}
		fds, err := rights(oob)
		if err != nil {
			return
		}
		if again, err := rights(unix.UnixRights(fds...)); err != nil || !slices.Equal(again, fds) {
			t.Fatalf("%x is %d, and then %d, %v", oob, fds, again, err)
		}
	})
}

// TestMessageIsBoundedHoweverItIsCut: patience is for all the records of a message,
// not for each, in both directions. The other end takes or sends one now and then.
func TestMessageIsBoundedHoweverItIsCut(t *testing.T) {
	for name, c := range map[string]struct{ ours, theirs func(c *channel) error }{
		"send": {
			ours: func(c *channel) error {
				m := message{kind: "k"}
				for range maxMessage / recordSize {
					m.add("a", strings.Repeat("x", recordSize))
				}
				return c.send(m)
			},
			theirs: func(c *channel) error { return errors.Join(first(c.receiveRecord(time.Now().Add(patience)))) },
		},
		"receive": {
			ours:   func(c *channel) error { return errors.Join(first(c.receive())) },
			theirs: func(c *channel) error { return unix.Sendmsg(c.fd, []byte("+k\x00"), nil, nil, unix.MSG_NOSIGNAL) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := channels(t)
			done := make(chan error)
			begin := time.Now()
			go func() { done <- c.ours(a) }()
			tick := time.NewTicker(patience / 4)
			defer tick.Stop()
			for range 8 {
				select {
				case err := <-done:
					if err == nil || time.Since(begin) > patience+time.Second {
						t.Errorf("got %v after %v", err, time.Since(begin))
					}
					a.close()
					b.close()
					return
				case <-tick.C:
					if err := c.theirs(b); err != nil {
						t.Error(err)
					}
				}
			}
			t.Errorf("still at it after %v", time.Since(begin))
		})
	}
}

// first drops what came with an error.
func first(results ...any) error {
	err, _ := results[len(results)-1].(error)
	return err
}
