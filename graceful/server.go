package graceful

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultQuietTime is for how long a connection has to be quiet until a drain closes it.
const DefaultQuietTime = time.Second

// A Server is an http.Server that knows its connections. [http.Server.Shutdown] alone
// drops a request now and then: a connection that was accepted, and whose request is read
// only after Shutdown was called, is closed without an answer.
type Server struct {
	// QuietTime is how long a connection may be without a request in a drain. It
	// begins with the drain at the earliest, because clients of kept connections come
	// back. Not to be changed after Serve.
	QuietTime time.Duration

	http      *http.Server
	accepting sync.WaitGroup
	draining  atomic.Bool

	mu        sync.Mutex
	listeners []net.Listener
	quiet     map[net.Conn]time.Time // since when; zero while a request is being answered
	changed   chan struct{}          // capacity 1: quiet has changed
}

// NewServer wraps the handler and the ConnState of s, which serves by the methods of the
// Server from then on.
func NewServer(s *http.Server) *Server {
	w := &Server{QuietTime: DefaultQuietTime, http: s, quiet: map[net.Conn]time.Time{}, changed: make(chan struct{}, 1)}
	handler, connState := s.Handler, s.ConnState
	if handler == nil {
		handler = http.DefaultServeMux
	}
	s.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.Draining() && r.ProtoMajor == 1 { // or the client would send another request
			rw.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(rw, r)
	})
	s.ConnState = func(c net.Conn, state http.ConnState) {
		w.track(c, state)
		if connState != nil {
			connState(c, state)
		}
	}
	return w
}

// Draining reports whether Drain was called.
func (s *Server) Draining() bool { return s.draining.Load() }

// Serve accepts on l until Drain is called, and returns nil then. It may be called for
// several listeners at once.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.Draining() {
		s.mu.Unlock()
		return l.Close()
	}
	s.listeners = append(s.listeners, l)
	s.accepting.Add(1)
	s.mu.Unlock()
	defer s.accepting.Done()
	err := s.http.Serve(l)
	if s.Draining() && (errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed)) {
		return nil
	}
	return err
}

// track is http.Server.ConnState. StateNew comes before Serve can return, so no accepted
// connection is missed.
func (s *Server) track(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew, http.StateIdle:
		s.quiet[c] = time.Now()
	case http.StateActive:
		s.quiet[c] = time.Time{}
	case http.StateClosed, http.StateHijacked:
		delete(s.quiet, c)
	}
	select {
	case s.changed <- struct{}{}:
	default: // somebody is going to look anyway
	}
}

// Drain accepts no more, blocks until every connection has been answered or has been quiet
// for QuietTime, and shuts the server down then. Answers to HTTP/1 requests say
// "Connection: close" meanwhile. A second call waits for the same.
func (s *Server) Drain() error {
	begin := time.Now()
	s.mu.Lock()
	s.draining.Store(true)
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	s.listeners = nil
	s.mu.Unlock()
	s.accepting.Wait()
	for {
		wait, left := s.closeQuiet(begin)
		if left == 0 {
			return errors.Join(append(errs, s.http.Shutdown(context.Background()))...)
		}
		select {
		case <-s.changed:
		case <-time.After(wait):
		}
	}
}

// closeQuiet closes what has been quiet for long enough, and returns how many other
// connections there are and when to look again.
func (s *Server) closeQuiet(begin time.Time) (wait time.Duration, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = time.Hour // for connections that are being answered there is a change to wait for
	for c, since := range s.quiet {
		if since.IsZero() {
			left++
			continue
		}
		if since.Before(begin) {
			since = begin
		}
		rest := time.Until(since.Add(s.QuietTime))
		if rest <= 0 {
			c.Close() // its goroutine reports StateClosed
			delete(s.quiet, c)
			continue
		}
		left++
		wait = min(wait, rest)
	}
	return wait, left
}
