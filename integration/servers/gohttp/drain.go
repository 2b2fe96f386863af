package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A server knows its connections. http.Server.Shutdown alone is not enough to lose nothing: once it has been
// called, a connection whose request is read only then is closed without an answer.
type server struct {
	http      http.Server
	accepting sync.WaitGroup
	draining  atomic.Bool
	quietTime time.Duration // how long a connection without a request has to be quiet until it is closed in a drain

	mu      sync.Mutex
	quiet   map[net.Conn]time.Time // since when; zero while a request is being answered
	changed chan struct{}          // capacity 1: quiet has changed
}

// track is http.Server.ConnState. StateNew comes before Serve can return, so no accepted connection is missed.
func (s *server) track(c net.Conn, state http.ConnState) {
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

// drain accepts no more, waits until every connection has been answered or has been quiet for quietTime, and only
// then shuts down. Answers say "Connection: close" meanwhile, so that clients do not send another request.
func (s *server) drain(listeners []net.Listener) error {
	begin := time.Now()
	s.draining.Store(true)
	for _, l := range listeners {
		if err := l.Close(); err != nil {
			return err
		}
	}
	s.accepting.Wait()
	for {
		wait, left := s.closeQuiet(begin)
		if left == 0 {
			return s.http.Shutdown(context.Background())
		}
		select {
		case <-s.changed:
		case <-time.After(wait):
		}
	}
}

// closeQuiet closes what has been quiet for long enough, and returns how many other connections there are and when
// to look again. Quiet time before the drain does not count: clients of kept connections come back.
func (s *server) closeQuiet(begin time.Time) (wait time.Duration, left int) {
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
		rest := time.Until(since.Add(s.quietTime))
		if rest <= 0 {
			_ = c.Close() // its goroutine reports StateClosed
			delete(s.quiet, c)
			continue
		}
		left++
		wait = min(wait, rest)
	}
	return wait, left
}
