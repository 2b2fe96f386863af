package graceful_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flipexec/flipexec/graceful"
)

// patience bounds what a test waits for.
const patience = 20 * time.Second

// serve starts a server whose answers are "ok", and counts what it has accepted.
func serve(t *testing.T, handler http.HandlerFunc) (s *graceful.Server, addr string, accepted *atomic.Int64) {
	t.Helper()
	accepted = new(atomic.Int64)
	if handler == nil {
		handler = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }
	}
	s = graceful.NewServer(&http.Server{Handler: handler, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			accepted.Add(1)
		}
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Drain(), <-served); err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String(), accepted
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask makes one request and reports whether the server wants no other.
func ask(t *testing.T, c net.Conn) (last bool, err error) {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "ok" {
		return false, fmt.Errorf("got %q, %w", b, err)
	}
	return resp.Close, nil
}

// drain begins a drain, and returns when nobody is accepted any more.
func drain(t *testing.T, s *graceful.Server, addr string) (done chan error) {
	t.Helper()
	done = make(chan error, 1)
	go func() { done <- s.Drain() }()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return done
		}
		c.Close()
	}
	t.Fatal("still accepts")
	return nil
}

// TestDrainAnswersWhatWasAccepted: whether it has sent a request by then or not. It fails
// with http.Server.Shutdown.
func TestDrainAnswersWhatWasAccepted(t *testing.T) {
	s, addr, accepted := serve(t, nil)
	s.QuietTime = patience
	kept := dial(t, addr)
	if last, err := ask(t, kept); last || err != nil {
		t.Fatalf("before the drain: Connection: close is %v, %v", last, err)
	}
	conns := []net.Conn{kept}
	for range 20 {
		conns = append(conns, dial(t, addr))
	}
	for deadline := time.Now().Add(patience); accepted.Load() < int64(len(conns)); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("accepted %d of %d", accepted.Load(), len(conns))
		}
	}
	done := drain(t, s, addr)
	for i, c := range conns {
		if last, err := ask(t, c); !last || err != nil {
			t.Errorf("connection %d: Connection: close is %v, %v", i, last, err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDrainWaitsForAnswers: however long one takes.
func TestDrainWaitsForAnswers(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	s, addr, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-finish
		fmt.Fprint(w, "ok")
	})
	s.QuietTime = time.Millisecond
	c := dial(t, addr)
	answered := make(chan error)
	go func() {
		_, err := ask(t, c)
		answered <- err
	}()
	<-begun
	done := drain(t, s, addr)
	select {
	case err := <-done:
		t.Errorf("over before the answer: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(finish)
	if err := errors.Join(<-answered, <-done); err != nil {
		t.Error(err)
	}
}

// TestDrainClosesWhoIsQuiet: a client that never says anything holds nothing up.
func TestDrainClosesWhoIsQuiet(t *testing.T) {
	s, addr, _ := serve(t, nil)
	s.QuietTime = 50 * time.Millisecond
	c := dial(t, addr)
	if _, err := ask(t, c); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := <-drain(t, s, addr); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took < s.QuietTime || took > patience/2 {
		t.Errorf("took %v for a quiet time of %v", took, s.QuietTime)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the quiet connection: got %v, want EOF", err)
	}
}

func TestServeAfterDrainClosesTheListener(t *testing.T) {
	s, _, _ := serve(t, nil)
	if err := s.Drain(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener is open still")
	}
}
