package load

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// serveKept answers limit requests on a connection, then closes it.
func serveKept(c net.Conn, limit int, text string) {
	defer c.Close()
	b := bufio.NewReader(c)
	for range limit {
		if _, err := http.ReadRequest(b); err != nil {
			return
		}
		if _, err := c.Write([]byte(text)); err != nil {
			return
		}
	}
}

// runKept lets a server close connections after some answers, and returns after some connections.
func runKept(t *testing.T, conns int, text string, perConn int) Report {
	return run(t, Config{Conns: conns, Addr: listen(t, func(c net.Conn) { serveKept(c, perConn, text) })}, 6)
}

func TestKeptConnectionClosedBetweenAnswersIsRetried(t *testing.T) {
	r := runKept(t, 2, okAnswer, 3)
	if r.OK != r.Sent || r.Failures() != 0 || r.Retried < 4 {
		t.Errorf("got %v, want 4 retries at least and no failure", r)
	}
}

func TestAnnouncedCloseNeedsNoRetry(t *testing.T) {
	r := runKept(t, 2, "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", 1)
	if r.OK != r.Sent || r.Retried != 0 {
		t.Errorf("got %v, want neither failure nor retry", r)
	}
}

func TestNewConnectionClosedWithoutAnswerIsNotRetried(t *testing.T) {
	r := runKept(t, 2, okAnswer, 0)
	if r.Retried != 0 || r.Failed[EOF] != r.Sent-r.Failed[Reset] || r.OK != 0 {
		t.Errorf("got %v, want failures only", r)
	}
}

// TestSlowClientTriesAgain: it connects, and gets no processor for longer than a server that drains waits for
// it. A client that is quick has no second try.
func TestSlowClientTriesAgain(t *testing.T) {
	var accepted, dialed atomic.Int64
	addr := listen(t, func(c net.Conn) {
		if accepted.Add(1) > 1 {
			serveKept(c, 1, okAnswer)
		}
		c.Close()
	})
	done := make(chan struct{})
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		switch dialed.Add(1) {
		case 1:
			time.Sleep(slowAfter + time.Millisecond)
		case 2:
			close(done)
		}
		return c, err
	}
	g := Start(Config{Dial: dial, Network: "tcp", Addr: addr, Rate: 1, Timeout: 10 * time.Second})
	<-done
	if r := g.Stop(); r.OK != r.Sent || r.Retried != 1 {
		t.Errorf("got %v, want one retry and no failure", r)
	}
}

func TestKeptConnectionsAreKept(t *testing.T) {
	var accepted, answered atomic.Int64
	enough := make(chan struct{})
	addr := listen(t, func(c net.Conn) {
		accepted.Add(1)
		defer c.Close()
		b := bufio.NewReader(c)
		for {
			if _, err := http.ReadRequest(b); err != nil {
				return
			}
			c.Write([]byte(okAnswer))
			if answered.Add(1) == 50 {
				close(enough)
			}
		}
	})
	g := Start(Config{Dial: new(net.Dialer).DialContext, Network: "tcp", Addr: addr, Rate: 500, Conns: 3, Timeout: 10 * time.Second})
	<-enough
	r := g.Stop()
	if got := accepted.Load(); r.OK != r.Sent || got != 3 {
		t.Errorf("connections: got %d (%v), want 3", got, r)
	}
}

// With its only connection busy, requests wait here: they are late, and the wait is part of their latency.
func TestWaitForAKeptConnectionIsLatency(t *testing.T) {
	const stall = 60 * time.Millisecond
	var n atomic.Int64
	addr := listen(t, func(c net.Conn) {
		if n.Add(1) == 1 {
			<-time.After(stall)
		}
		serveKept(c, 1000, okAnswer)
	})
	ten := make(chan struct{})
	g := Start(Config{Rate: 500, Conns: 1, Timeout: 10 * time.Second, Network: "tcp", Addr: addr,
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.AfterFunc(2*stall, func() { close(ten) })
			return new(net.Dialer).DialContext(ctx, network, addr)
		}})
	<-ten
	r := g.Stop()
	if r.Late < 10 || r.All.Max < stall {
		t.Errorf("got %v, want 10 late ones at least and a wait that shows", r)
	}
}
