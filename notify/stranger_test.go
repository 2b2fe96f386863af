package notify_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// TestMutedSocketIsNotWoken: what comes is thrown away, without an error for its
// sender and whatever the length of the queue; what waited before stays.
func TestMutedSocketIsNotWoken(t *testing.T) {
	sock, s := pair(t)
	if err := s.Send(notify.Message{{"N", "before"}}, soon()); err != nil {
		t.Fatal(err)
	}
	if err := sock.Mute(); err != nil {
		t.Fatal(err)
	}
	for range 2000 { // more than any queue holds
		if err := s.Send(notify.Message{{"N", "after"}}, soon()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Barrier(soon()); err != nil { // its descriptor is thrown away, too
		t.Errorf("Barrier: %v", err)
	}
	if d := mustReceive(t, sock); !d.Message.Is("N", "before") {
		t.Errorf("got %q, want what was sent before", d.Message)
	}
	if _, err := sock.Receive(); err != notify.ErrEmpty {
		t.Errorf("got %v, want %v", err, notify.ErrEmpty)
	}
}

// TestLingeringSocketIsNoTrap: a stranger sends a connection whose last close(2) waits
// long for a peer that never reads.
func TestLingeringSocketIsNoTrap(t *testing.T) {
	for name, text := range map[string]string{"message": "A=1", "refused datagram": "garbage\x00"} {
		t.Run(name, func(t *testing.T) {
			sock, _ := pair(t)
			fd := lingering(t)
			sendRaw(t, sock, []byte(text), fd)
			unix.Close(fd) // not the last: the datagram has another
			begin := time.Now()
			d, err := sock.Receive()
			if err != nil && !errors.Is(err, notify.ErrRefused) {
				t.Fatal(err)
			}
			d.Discard()
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// lingering is a TCP connection with unsent data. Its peer does not read.
func lingering(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	for err == nil {
		_, err = unix.SendmsgN(fd, make([]byte, 1<<20), nil, nil, unix.MSG_DONTWAIT)
	}
	if err != unix.EAGAIN {
		t.Fatal(err)
	}
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 20}); err != nil {
		t.Fatal(err)
	}
	return fd
}
