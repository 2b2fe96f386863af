package activation_test

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// pass makes a socket as another program would have passed it: the Passed owns
// its descriptor. The test keeps a second one of the same open file description.
func pass(t *testing.T, text string) (p *activation.Passed, kept activation.Socket) {
	t.Helper()
	kept = bind(t, text)
	fd, err := unix.FcntlInt(uintptr(kept.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return activation.NewPassed(activation.Socket{FD: fd, Name: "s"}), kept
}

func TestListenerServesAndLeavesThePath(t *testing.T) {
	checkFDs(t)
	at := path(t)
	for network, text := range map[string]string{"tcp": "tcp:127.0.0.1:0", "unix": "unix:" + at} {
		p, kept := pass(t, text)
		l, err := p.Listener("s")
		if err != nil {
			t.Fatal(err)
		}
		if left := p.Names(); len(left) != 0 {
			t.Errorf("%s: %q can still be taken", network, left)
		}
		done := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				c.Close()
			}
			done <- err
		}()
		c, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); err != nil {
			t.Error(err)
		}
		c.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		checkFlags(t, kept)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		checkFlags(t, kept)
		if network == "unix" {
			if _, err := os.Lstat(at); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestPacketConnReceives(t *testing.T) {
	checkFDs(t)
	at := path(t)
	for network, text := range map[string]string{"udp": "udp:127.0.0.1:0", "unixgram": "unixgram:" + at} {
		p, kept := pass(t, text)
		pc, err := p.PacketConn("s")
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial(network, pc.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		c.Close()
		var b [10]byte
		if n, _, err := pc.ReadFrom(b[:]); err != nil || string(b[:n]) != "hello" {
			t.Errorf("%s: got %q, %v, want %q", network, b[:n], err, "hello")
		}
		pc.Close()
		checkFlags(t, kept)
	}
}

func TestWrongKindDoesNotLoseTheSocket(t *testing.T) {
	checkFDs(t)
	at := path(t)
	for _, text := range []string{"tcp:127.0.0.1:0", "unix:" + at + "1", "unixpacket:" + at + "2"} {
		p, _ := pass(t, text)
		if pc, err := p.PacketConn("s"); err == nil {
			t.Errorf("%s passed for a packet connection", text)
			pc.Close()
			continue
		}
		l, err := p.Listener("s")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		l.Close()
	}
	for _, text := range []string{"udp:127.0.0.1:0", "unixgram:" + at + "3"} {
		p, _ := pass(t, text)
		if l, err := p.Listener("s"); err == nil {
			t.Errorf("%s passed for a listener", text)
			l.Close()
			continue
		}
		pc, err := p.PacketConn("s")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		pc.Close()
	}
}

func TestSocketsOfOneNameAreTakenInOrder(t *testing.T) {
	a, b, c := bind(t, "a=tcp:127.0.0.1:0"), bind(t, "b=tcp:127.0.0.1:0"), bind(t, "a=tcp:127.0.0.1:0")
	var passed []activation.Socket
	for _, s := range []activation.Socket{a, b, c} {
		fd, err := unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		passed = append(passed, activation.Socket{FD: fd, Name: s.Name})
	}
	p := activation.NewPassed(passed...)
	defer p.Close()
	for i, want := range []activation.Socket{a, c} {
		l, err := p.Listener("a")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if got := l.Addr().(*net.TCPAddr).Port; got != port(t, want) {
			t.Errorf("listener %d: got port %d, want %d", i, got, port(t, want))
		}
	}
	if got, want := p.Names(), []string{"b"}; !slices.Equal(got, want) {
		t.Errorf("left: got %q, want %q", got, want)
	}
}

func TestSocketThatWasNotPassedIsNamed(t *testing.T) {
	p := activation.NewPassed()
	_, err := p.Listener("http")
	if want := `socket "http": no such socket was passed`; !errors.Is(err, activation.ErrNotPassed) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := p.PacketConn("http"); !errors.Is(err, activation.ErrNotPassed) {
		t.Errorf("got %v, want %v", err, activation.ErrNotPassed)
	}
}

func TestCloseClosesWhatWasNotTaken(t *testing.T) {
	p, _ := pass(t, "tcp:127.0.0.1:0")
	before := countFDs(t)
	p.Close()
	if got, want := countFDs(t), before-1; got != want {
		t.Errorf("got %d open descriptors, want %d", got, want)
	}
	if left := p.Names(); len(left) != 0 {
		t.Errorf("%q can still be taken", left)
	}
	p.Close() // again: nothing happens
}
