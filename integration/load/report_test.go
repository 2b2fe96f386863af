package load

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

func TestRequestCountsInTheWindowsItLivedIn(t *testing.T) {
	start := time.Now()
	var tl tally
	tl.init(start)
	tl.mark("a", start.Add(10*ms))
	tl.endMark(start.Add(20 * ms))
	tl.endMark(start.Add(25 * ms)) // nothing is open
	tl.mark("b", start.Add(30*ms))
	tl.mark("a", start.Add(40*ms)) // closes b
	tl.endMark(start.Add(50 * ms))
	for _, tc := range []struct {
		name     string
		due, end time.Duration
		want     []string
	}{
		{"before all", 1 * ms, 9 * ms, []string{Outside}},
		{"into one", 5 * ms, 15 * ms, []string{"a"}},
		{"in one", 12 * ms, 13 * ms, []string{"a"}},
		{"out of one", 15 * ms, 25 * ms, []string{"a"}},
		{"around one", 5 * ms, 29 * ms, []string{"a"}},
		{"between", 22 * ms, 28 * ms, []string{Outside}},
		{"two names", 35 * ms, 45 * ms, []string{"b", "a"}},
		{"one name twice", 5 * ms, 60 * ms, []string{"a", "b"}},
		{"after all", 51 * ms, 52 * ms, []string{Outside}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tl.during(sample{tc.due, tc.end, true}); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestQuantilesAreOfAnsweredRequestsOnly(t *testing.T) {
	samples := []sample{{0, time.Hour, false}}
	for i := range 1001 { // latencies 0, 1, ... 1000 ms, backwards
		samples = append(samples, sample{0, time.Duration(1000-i) * ms, true})
	}
	want := Window{OK: 1001, Failed: 1, P50: 500 * ms, P99: 990 * ms, P999: 999 * ms, Max: 1000 * ms}
	if got := summary(samples); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := summary(samples[:1]), (Window{Failed: 1}); got != want {
		t.Errorf("no answer: got %+v, want %+v", got, want)
	}
}

func TestWindowsAddUpInTheReport(t *testing.T) {
	start := time.Now()
	var tl tally
	tl.init(start)
	tl.mark("reload", start)
	tl.add(&conn{pid: []byte("7")}, start, start, nil)
	tl.endMark(time.Now())
	tl.add(&conn{}, time.Now(), time.Now(), &failure{kind: Reset, text: "why"})
	r := tl.report()
	if r.Sent != 2 || r.OK != 1 || r.All.OK != 1 || r.All.Failed != 1 || r.Windows["reload"].OK != 1 || r.Windows[Outside].Failed != 1 {
		t.Errorf("got %+v", r)
	}
	for _, want := range []string{"sent 2, ok 1, failed 1", "reset", "first: why", "reload", "outside"} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("String: got %q, want %q in it", r.String(), want)
		}
	}
}
