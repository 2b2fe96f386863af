package load

import (
	"bufio"
	"context"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// listen gives every accepted connection to handle, which has to close it, until the test ends.
func listen(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go handle(c)
		}
	}()
	return l.Addr().String()
}

// answer returns a handler that reads a request, writes text, and closes.
func answer(text string) func(net.Conn) {
	return func(c net.Conn) {
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			c.Write([]byte(text))
		}
	}
}

// run sends at least n requests, and Config's Dial, Rate and Timeout need not be set.
func run(t testing.TB, cfg Config, n int64) Report {
	t.Helper()
	if cfg.Network == "" {
		cfg.Network = "tcp"
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	var dials atomic.Int64
	enough := make(chan struct{})
	cfg.Rate = 500
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) == n {
			close(enough)
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	g := Start(cfg)
	select {
	case <-enough:
	case <-time.After(30 * time.Second):
		t.Error("too few connections after 30s")
	}
	return g.Stop()
}

const okAnswer = "HTTP/1.1 200 OK\r\nX-Pid: 7\r\ncontent-length: 3\r\n\r\nok\n"

func TestEachFailureIsCountedByItsKind(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	for _, tc := range []struct {
		name string
		want Kind
		cfg  Config
	}{
		{"nothing listens", Refused, Config{Addr: gone.Addr().String()}},
		{"no such path", Dial, Config{Network: "unix", Addr: t.TempDir() + "/none"}},
		{"closed with linger 0", Reset, Config{Addr: listen(t, func(c net.Conn) {
			http.ReadRequest(bufio.NewReader(c))
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		})}},
		{"closed unread", Reset, Config{Addr: listen(t, func(c net.Conn) {
			c.Read(make([]byte, 1)) // the rest stays in the queue: the kernel answers the close with RST
			c.Close()
		})}},
		{"closed in order", EOF, Config{Addr: listen(t, answer(""))}},
		{"no answer", Timeout, Config{Timeout: 20 * time.Millisecond, Addr: listen(t, func(c net.Conn) { <-release; c.Close() })}},
		{"body cut short", Garbled, Config{Addr: listen(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok\n"))}},
		{"header cut short", Garbled, Config{Addr: listen(t, answer("HTTP/1.1 200 OK\r\nContent-Le"))}},
		{"body too long", Garbled, Config{Addr: listen(t, answer(okAnswer+"more"))}},
		{"no length", Garbled, Config{Addr: listen(t, answer("HTTP/1.1 200 OK\r\n\r\n"))}},
		{"bad length", Garbled, Config{Addr: listen(t, answer("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"))}},
		{"not HTTP", Garbled, Config{Addr: listen(t, answer("hello\r\n\r\n"))}},
		{"endless header", Garbled, Config{Addr: listen(t, answer("HTTP/1.1 200 OK\r\nX: "+string(make([]byte, 5000))))}},
		{"busy", Status, Config{Addr: listen(t, answer("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"))}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := run(t, tc.cfg, 5)
			if want := map[Kind]int{tc.want: r.Sent}; r.Sent < 5 || r.OK != 0 || !maps.Equal(r.Failed, want) {
				t.Errorf("failed: got %v, want %v", r, want)
			}
			if r.FirstError[tc.want] == "" {
				t.Error("first error: got none")
			}
		})
	}
}

func TestAnswersAreCountedByPID(t *testing.T) {
	var n atomic.Int64
	addr := listen(t, func(c net.Conn) {
		text := okAnswer
		if n.Add(1) == 3 {
			text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-pid: 8\r\n\r\n"
		}
		answer(text)(c)
	})
	r := run(t, Config{Addr: addr}, 10)
	if want := map[string]int{"7": r.Sent - 1, "8": 1}; r.OK != r.Sent || !maps.Equal(r.Answers, want) {
		t.Errorf("answers: got %v (%v), want %v", r.Answers, r, want)
	}
}

// A server that answers nobody until all of n clients are there is met by an open loop only.
func TestStalledServerDoesNotSlowTheSchedule(t *testing.T) {
	const n = 50
	var all sync.WaitGroup
	all.Add(n)
	var accepted atomic.Int64
	addr := listen(t, func(c net.Conn) {
		if accepted.Add(1) <= n {
			all.Done()
		}
		all.Wait()
		answer(okAnswer)(c)
	})
	r := run(t, Config{Addr: addr}, n)
	if r.OK != r.Sent || r.Failures() != 0 {
		t.Errorf("got %v, want no failure", r)
	}
	if least := 80 * time.Millisecond; r.All.Max < least { // the first waits for the 50th: 98 ms at 500/s
		t.Errorf("max latency: got %v, want %v at least", r.All.Max, least)
	}
}

func TestRequestsAreDueAtTheRate(t *testing.T) {
	const n = 50
	var accepted atomic.Int64
	enough := make(chan struct{})
	addr := listen(t, func(c net.Conn) {
		if accepted.Add(1) == n {
			close(enough)
		}
		answer(okAnswer)(c)
	})
	g := Start(Config{Dial: new(net.Dialer).DialContext, Network: "tcp", Addr: addr, Rate: 1000, Timeout: 10 * time.Second})
	<-enough
	g.Stop()
	slices.SortFunc(g.tally.samples, func(a, b sample) int { return int(a.due - b.due) })
	if got := len(g.tally.samples); got < n {
		t.Errorf("samples: got %d, want %d at least", got, n)
	}
	for i, s := range g.tally.samples {
		if got, want := s.due, time.Duration(i)*time.Millisecond; got != want {
			t.Fatalf("request %d: got due at %v, want %v", i, got, want)
		}
		if s.end < s.due {
			t.Fatalf("request %d: due at %v and over at %v", i, s.due, s.end)
		}
	}
}
