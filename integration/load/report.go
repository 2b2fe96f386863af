package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Outside is the window of the requests that were in flight during no marked one.
const Outside = "outside"

// A Report is what a load has shown.
type Report struct {
	Sent       int             // requests, each once; OK and all of Failed add up to it
	OK         int             // answered with 200, whole
	Late       int             // of Sent: started more than 5 ms after they were due, by this side's fault or for want of a free connection
	Retried    int             // of Sent: sent again because the server had closed the kept connection between two answers, or a new one to which it came late
	Failed     map[Kind]int    // by kind
	FirstError map[Kind]string // the first one's text, by kind
	Answers    map[string]int  // OK by X-Pid of the answer
	All        Window
	Windows    map[string]Window // by name of Mark, and Outside
}

// A Window sums up requests. Its latencies are those of the answered ones, from when they were due.
type Window struct {
	OK, Failed          int
	P50, P99, P999, Max time.Duration
}

// Failures returns the sum of Failed.
func (r Report) Failures() int {
	sum := 0
	for _, n := range r.Failed {
		sum += n
	}
	return sum
}

// String returns a few lines for a person.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sent %d, ok %d, failed %d, retried %d, late %d, from %d processes\n",
		r.Sent, r.OK, r.Failures(), r.Retried, r.Late, len(r.Answers))
	for _, k := range slices.Sorted(maps.Keys(r.Failed)) {
		fmt.Fprintf(&b, "  %-10s %d, first: %s\n", k, r.Failed[k], r.FirstError[k])
	}
	row := func(name string, w Window) {
		fmt.Fprintf(&b, "  %-10s ok %d, failed %d, p50 %v, p99 %v, p99.9 %v, max %v\n", name, w.OK, w.Failed,
			short(w.P50), short(w.P99), short(w.P999), short(w.Max))
	}
	row("all", r.All)
	for _, name := range slices.Sorted(maps.Keys(r.Windows)) {
		row(name, r.Windows[name])
	}
	return b.String()
}

func short(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// report sums up. Nothing may be added any more.
func (t *tally) report() Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.counts
	r.Answers = map[string]int{}
	for pid, n := range t.answers {
		r.Answers[pid] = *n
	}
	byName := map[string][]sample{}
	for _, s := range t.samples {
		for _, name := range t.during(s) {
			byName[name] = append(byName[name], s)
		}
	}
	r.All = summary(t.samples)
	r.Windows = map[string]Window{}
	for name, samples := range byName {
		r.Windows[name] = summary(samples)
	}
	return r
}

// during returns the names of the windows in which a request was in flight, each once.
func (t *tally) during(s sample) []string {
	var names []string
	// Windows do not overlap, so those that ended before the request was due come first.
	first, _ := slices.BinarySearchFunc(t.windows, s.due, func(w window, due time.Duration) int { return int(w.to - due) })
	for _, w := range t.windows[first:] {
		if w.from > s.end {
			break
		}
		if !slices.Contains(names, w.name) {
			names = append(names, w.name)
		}
	}
	if names == nil {
		return []string{Outside}
	}
	return names
}

func summary(samples []sample) Window {
	var w Window
	var latencies []time.Duration
	for _, s := range samples {
		if s.ok {
			latencies = append(latencies, s.end-s.due)
		}
	}
	slices.Sort(latencies)
	w.OK = len(latencies)
	w.Failed = len(samples) - w.OK
	if w.OK == 0 {
		return w
	}
	at := func(permille int) time.Duration { return latencies[(w.OK-1)*permille/1000] }
	w.P50, w.P99, w.P999, w.Max = at(500), at(990), at(999), at(1000)
	return w
}
