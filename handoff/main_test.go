package handoff

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(role); name != "" {
		if err := play(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	startPoller()
	os.Exit(m.Run())
}

// startPoller makes the runtime open its epoll descriptors now, so that no
// test counts them as its own.
func startPoller() {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	r.Close()
	w.Close()
}

// checkFDs fails the test if it ends with more or fewer descriptors than now.
func checkFDs(t *testing.T) {
	t.Helper()
	before := countFDs(t)
	t.Cleanup(func() {
		if after := countFDs(t); after != before {
			t.Errorf("got %d open descriptors, want %d as before", after, before)
		}
	})
}

func countFDs(t *testing.T) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

// oneLine reports whether err can stand in a log.
func oneLine(err error) bool { return !strings.ContainsAny(err.Error(), "\n\r\x00") }

// checkError wants an error of one line that has want in it.
func checkError(t *testing.T, name string, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got %v, want %q in it", name, err, want)
	} else if strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: %q is more than one line", name, err)
	}
}

// bound is a socket for as long as the test runs.
func bound(t *testing.T, text string) activation.Socket {
	t.Helper()
	spec, err := activation.ParseSpec(text)
	if err != nil {
		t.Fatal(err)
	}
	s, err := activation.Bind(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
