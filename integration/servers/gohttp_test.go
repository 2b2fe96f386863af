//go:build linux

package servers_test

import (
	"testing"
	"time"
)

func TestGohttpFaults(t *testing.T) {
	server := gohttp(t)
	t.Run("fail", func(t *testing.T) {
		listener, _ := listen(t)
		start(t, listener, ".", []string{"GOHTTP_FAIL=3"}, server).wantExit(3)
	})
	t.Run("hang ends at SIGTERM", func(t *testing.T) {
		listener, _ := listen(t)
		p := start(t, listener, ".", []string{"GOHTTP_HANG=1"}, server)
		p.terminate()
		p.wantExit(-1)
	})
	t.Run("delays and STOPPING=1", func(t *testing.T) {
		listener, _ := listen(t)
		begin := time.Now()
		p := start(t, listener, ".", []string{"GOHTTP_START_DELAY=200ms", "GOHTTP_STOP_DELAY=200ms", "GOHTTP_STOPPING=1"}, server)
		p.wantMessage("READY=1")
		if got, want := time.Since(begin), 200*time.Millisecond; got < want {
			t.Errorf("ready: got after %v, want %v at least", got, want)
		}
		begin = time.Now()
		p.terminate()
		p.wantMessage("STOPPING=1")
		p.wantExit(0)
		if got, want := time.Since(begin), 200*time.Millisecond; got < want {
			t.Errorf("exit: got after %v, want %v at least", got, want)
		}
	})
	t.Run("watchdog", func(t *testing.T) {
		listener, _ := listen(t)
		p := start(t, listener, ".", []string{"WATCHDOG_USEC=20000"}, server)
		p.wantMessage("READY=1")
		p.wantMessage("WATCHDOG=1")
		p.wantMessage("WATCHDOG=1")
	})
}

func TestGohttpShowsWhatItWasGiven(t *testing.T) {
	listener, addr := listen(t)
	p := start(t, listener, "/", []string{"COLOUR=green"}, "/bin/sh", "-c", `ulimit -Sn 100; ulimit -Hn 200; exec "$0"`, gohttp(t))
	p.wantMessage("READY=1")
	for path, want := range map[string]string{"/env?name=COLOUR": "green", "/limits": "nofile 100 200\ncwd /\n"} {
		if _, got := get(t, "http://"+addr+path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
