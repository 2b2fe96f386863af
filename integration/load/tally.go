package load

import (
	"errors"
	"sync"
	"time"
)

// A tally collects results. One lock is enough for some thousand a second.
type tally struct {
	mu      sync.Mutex
	start   time.Time
	counts  Report          // without the latencies
	answers map[string]*int // by X-Pid; pointers, because the lookup of a []byte key is free and its insertion is not
	samples []sample        // of all requests
	windows []window        // in order; the last one may be open
}

// A sample is the life of a request, from when it was due, since the start of the load.
type sample struct {
	due, end time.Duration
	ok       bool
}

type window struct {
	name     string
	from, to time.Duration
	open     bool
}

func (t *tally) init(start time.Time) {
	t.start = start
	t.answers = map[string]*int{}
	t.counts = Report{Failed: map[Kind]int{}, FirstError: map[Kind]string{}}
}

func (t *tally) retry() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Retried++
}

// add counts a request that has ended now.
func (t *tally) add(c *conn, due, started time.Time, err error) {
	end := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Sent++
	if started.Sub(due) > lateBy {
		t.counts.Late++
	}
	t.samples = append(t.samples, sample{due.Sub(t.start), end.Sub(t.start), err == nil})
	if err != nil {
		t.fail(err)
		return
	}
	t.counts.OK++
	if n := t.answers[string(c.pid)]; n != nil {
		*n++
		return
	}
	one := 1
	t.answers[string(c.pid)] = &one
}

func (t *tally) fail(err error) {
	f := &failure{kind: Reset, text: err.Error()} // for what SetDeadline may say of a connection that has gone
	errors.As(err, &f)
	t.counts.Failed[f.kind]++
	if t.counts.FirstError[f.kind] == "" {
		t.counts.FirstError[f.kind] = f.text
	}
}

func (t *tally) mark(name string, now time.Time) {
	t.endMark(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.windows = append(t.windows, window{name: name, from: now.Sub(t.start), open: true})
}

func (t *tally) endMark(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.windows); n > 0 && t.windows[n-1].open {
		t.windows[n-1].to, t.windows[n-1].open = now.Sub(t.start), false
	}
}
