package load

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/flipexec/flipexec/graceful"
)

// lateBy is how long after its time a request may start without being counted as late.
const lateBy = 5 * time.Millisecond

// slowAfter is how long after it began to connect a client has been quiet for long: half of what package graceful
// gives it.
const slowAfter = graceful.DefaultQuietTime / 2

// Config says what to send where. Only Path and Conns may be left zero.
type Config struct {
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	Network string
	Addr    string
	Path    string        // of the URL; if empty, "/"
	Rate    int           // requests per second
	Conns   int           // kept connections to share the requests; if 0, each request has one of its own
	Timeout time.Duration // for one request with its connection, from its start (which may be late)
}

// A Generator sends requests from Start until Stop. Its methods may be used concurrently.
type Generator struct {
	cfg     Config
	start   time.Time
	request []byte
	stop    chan struct{}
	due     chan time.Time // to the kept connections
	senders sync.WaitGroup
	tally   tally
	report  func() Report // ends it, once
}

// Start begins to send at once. Stop must be called.
func Start(cfg Config) *Generator {
	if cfg.Path == "" {
		cfg.Path = "/"
	}
	g := &Generator{cfg: cfg, start: time.Now(), stop: make(chan struct{}), due: make(chan time.Time)}
	g.report = sync.OnceValue(g.end)
	g.tally.init(g.start)
	g.request = []byte("GET " + cfg.Path + " HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n")
	if cfg.Conns > 0 {
		g.request = []byte("GET " + cfg.Path + " HTTP/1.1\r\nHost: load\r\n\r\n")
	}
	for range cfg.Conns {
		g.senders.Go(g.sendKept)
	}
	g.senders.Go(g.schedule)
	return g
}

// Stop ends the schedule, waits for the answers in flight, which takes the timeout (for each of two tries) at
// most, and returns what has been counted.
func (g *Generator) Stop() Report { return g.report() }

func (g *Generator) end() Report {
	close(g.stop)
	g.senders.Wait()
	g.EndMark()
	return g.tally.report()
}

// Mark opens a window: requests that are in flight while it is open are counted under name in Report.Windows,
// as well as in all. Windows of one name are counted together. An open window is closed first.
func (g *Generator) Mark(name string) { g.tally.mark(name, time.Now()) }

// EndMark closes the open window, if there is one.
func (g *Generator) EndMark() { g.tally.endMark(time.Now()) }

// schedule hands out each request when it is due, and late ones as fast as they go.
func (g *Generator) schedule() {
	defer close(g.due)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := int64(0); ; i++ {
		due := g.start.Add(time.Duration(i * int64(time.Second) / int64(g.cfg.Rate)))
		timer.Reset(time.Until(due))
		select {
		case <-g.stop:
			return
		case <-timer.C:
		}
		if !g.dispatch(due) {
			return
		}
	}
}

// dispatch starts a request on a connection of its own, or waits for a kept connection to take it. It
// returns false when the load has been stopped instead.
func (g *Generator) dispatch(due time.Time) bool {
	if g.cfg.Conns == 0 {
		g.senders.Go(func() { g.sendNew(due) })
		return true
	}
	select {
	case g.due <- due:
		return true
	case <-g.stop:
		return false
	}
}

// sendNew makes one request on a connection of its own.
func (g *Generator) sendNew(due time.Time) {
	start := time.Now()
	c := conns.Get().(*conn)
	defer conns.Put(c)
	err := g.send(c, start)
	c.close()
	g.tally.add(c, due, start, err)
}

// sendKept makes requests on one kept connection, and dials when there is none.
func (g *Generator) sendKept() {
	c := new(conn)
	defer c.close()
	for due := range g.due {
		start := time.Now()
		err := g.send(c, start)
		if err != nil || c.last {
			c.close()
		}
		g.tally.add(c, due, start, err)
	}
}

// send makes one request, and once more if it is not the server's fault that the first one had no answer.
//
// A kept connection may be closed between two answers: HTTP's own race (RFC 9112, section 9.3.1), which every
// client has to mend. It is a reset if the request was on its way when the server closed. A new one may be
// closed by a server that drains, if its client says nothing for long, and so does one that gets no processor.
func (g *Generator) send(c *conn, start time.Time) error {
	reused := c.open()
	err := c.try(&g.cfg, g.request, start)
	if (reused || c.slow) && unanswered(err) {
		g.tally.retry()
		err = c.try(&g.cfg, g.request, time.Now())
	}
	return err
}
