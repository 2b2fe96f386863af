package handoff

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// TestLongStatusDoesNotStopAHandoff: the server may fill a whole datagram with its
// status; ours with the main PID must still fit.
func TestLongStatusDoesNotStopAHandoff(t *testing.T) {
	for name, status := range map[string]string{
		"none":  "",
		"short": "serving",
		"long":  strings.Repeat("x", 4000),
		"wide":  "x" + strings.Repeat("é", 2000),
	} {
		l := launcher{estate: estate{Generation: 7, Watchdog: "3000000"}, main: process{pid: 4711}, status: clip(status)}
		b, err := l.announcement().Encode()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range []string{"MAINPID=4711\n", "READY=1\n", "STATUS=generation 7: ", "WATCHDOG=1"} {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s: want %q in %q", name, want, b)
			}
		}
		if !utf8.Valid(b) {
			t.Errorf("%s: %q is not UTF-8, which systemd ignores", name, b)
		}
	}
}
