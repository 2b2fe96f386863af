package load

import (
	"bytes"
	"context"
	"net"
	"sync"
	"time"
)

// conns are for requests with a connection of their own, so that each does not need a new buffer.
var conns = sync.Pool{New: func() any { return new(conn) }}

// A conn is the client's side of a connection, and after an exchange, the answer.
type conn struct {
	net.Conn
	buf  [4096]byte // headers and the start of the body
	pid  []byte     // X-Pid, in buf
	last bool       // the server announced that it closes
	sent time.Time  // when the request was written
	slow bool       // that was late for a new connection
}

func (c *conn) open() bool { return c.Conn != nil }

func (c *conn) close() {
	if c.open() {
		_ = c.Conn.Close() // the answer is what counts
		c.Conn = nil
	}
}

// dial connects; the connection has the timeout of the request that starts now.
func (c *conn) dial(cfg *Config, now time.Time) error {
	c.pid = nil
	ctx, cancel := context.WithDeadline(context.Background(), now.Add(cfg.Timeout))
	defer cancel()
	nc, err := cfg.Dial(ctx, cfg.Network, cfg.Addr)
	if err != nil {
		return &failure{kind: dialKind(err), text: err.Error()}
	}
	c.Conn = nc
	return c.SetDeadline(now.Add(cfg.Timeout))
}

// try makes a request on the connection, or on a new one; a failed connection is closed.
func (c *conn) try(cfg *Config, request []byte, now time.Time) error {
	var err error
	reused := c.open()
	if reused {
		err = c.SetDeadline(now.Add(cfg.Timeout))
	} else {
		err = c.dial(cfg, now)
	}
	if err == nil {
		err = c.exchange(request)
	}
	c.slow = !reused && c.sent.Sub(now) > slowAfter
	if err != nil {
		c.close()
	}
	return err
}

// exchange writes the request and reads the answer to its end. A server may answer and close before it has
// read the request, so a failed write is only the reason if there is no answer.
func (c *conn) exchange(request []byte) error {
	c.pid, c.last = nil, false
	_, werr := c.Write(request)
	c.sent = time.Now()
	n, head := 0, -1
	for head < 0 {
		if n == len(c.buf) {
			return garbled("header of %d bytes", n)
		}
		m, err := c.Read(c.buf[n:])
		n += m
		head = bytes.Index(c.buf[:n], headerEnd)
		if head < 0 && err != nil {
			return readFailure(err, werr, n)
		}
	}
	status, length, err := c.parse(c.buf[:head])
	if err != nil {
		return err
	}
	if err := c.discard(length - (n - head - len(headerEnd))); err != nil {
		return err
	}
	if status != "200" {
		return &failure{kind: Status, text: "status " + status}
	}
	return nil
}

// discard reads the rest of the body; less than none means that the server sent too much.
func (c *conn) discard(rest int) error {
	if rest < 0 {
		return garbled("%d bytes too many", -rest)
	}
	var sink [1024]byte // c.buf still holds the PID
	for rest > 0 {
		n, err := c.Read(sink[:min(rest, len(sink))])
		rest -= n
		if err != nil && rest > 0 {
			return readFailure(err, nil, 1)
		}
	}
	return nil
}
