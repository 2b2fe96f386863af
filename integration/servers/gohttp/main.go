// gohttp is the Go server of the integration tests, a net/http server that loses nothing when it is replaced.
//
// Sockets: every descriptor of LISTEN_FDS, of which LISTEN_PID must say that they are ours; there is no other.
// Ready: READY=1 on $NOTIFY_SOCKET once it accepts on all of them; then WATCHDOG=1 if it is asked to.
// Stop: SIGTERM closes the listeners, answers what has been accepted (package graceful), and exits 0.
// GOHTTP_QUIET_TIME=5s: how long a client may be quiet in a drain before its first request (1s).
// GOHTTP_UNLINK=stop: unlink the paths of its unix sockets at SIGTERM, as php-fpm does; GOHTTP_UNLINK=exit: at the very end.
// Faults for tests: GOHTTP_FAIL=3 (exit 3 at once), GOHTTP_HANG=1 (never serve, never ready), GOHTTP_START_DELAY=2s
// (before it serves), GOHTTP_DIE=1 (exit as soon as READY=1 is said), GOHTTP_STOP_DELAY=2s (before it exits),
// GOHTTP_STOPPING=1 (say STOPPING=1).
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/flipexec/flipexec/graceful"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gohttp:", err)
		os.Exit(1)
	}
}

func run() error {
	if s := os.Getenv("GOHTTP_FAIL"); s != "" {
		status, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("GOHTTP_FAIL: %w", err)
		}
		os.Exit(status)
	}
	listeners, err := inherited()
	if err != nil {
		return err
	}
	if os.Getenv("GOHTTP_HANG") != "" {
		for {
			time.Sleep(time.Hour) // SIGTERM still ends us: nobody catches it yet
		}
	}
	if err := delay("GOHTTP_START_DELAY"); err != nil {
		return err
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	s, err := newServer()
	if err != nil {
		return err
	}
	failed := s.serve(listeners)
	if err := notify(fmt.Sprintf("READY=1\nSTATUS=serving, pid %d", os.Getpid())); err != nil {
		return err
	}
	if os.Getenv("GOHTTP_DIE") != "" {
		os.Exit(4)
	}
	if err := startWatchdog(); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	case <-term:
	}
	if os.Getenv("GOHTTP_STOPPING") != "" {
		if err := notify("STOPPING=1"); err != nil {
			return err
		}
	}
	paths := pathsOf(listeners)
	if err := unlink(paths, "stop"); err != nil {
		return err
	}
	if err := s.Drain(); err != nil {
		return err
	}
	if err := delay("GOHTTP_STOP_DELAY"); err != nil {
		return err
	}
	return unlink(paths, "exit")
}

// pathsOf are the files of those that are unix sockets.
func pathsOf(listeners []net.Listener) (paths []string) {
	for _, l := range listeners {
		if a := l.Addr(); a.Network() == "unix" {
			paths = append(paths, a.String())
		}
	}
	return paths
}

// unlink removes the files if this is the time for it.
func unlink(paths []string, when string) error {
	if os.Getenv("GOHTTP_UNLINK") != when {
		return nil
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// inherited returns listeners for 3, 4, ... as sd_listen_fds(3) numbers them. net.FileListener works on a duplicate and
// sets O_NONBLOCK, which is a property of the socket and so of every generation's; it never unlinks a path.
func inherited() ([]net.Listener, error) {
	if got, want := os.Getenv("LISTEN_PID"), strconv.Itoa(os.Getpid()); got != want {
		return nil, fmt.Errorf("LISTEN_PID: got %q, want %q", got, want)
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 1 {
		return nil, fmt.Errorf("LISTEN_FDS: got %q, want a number of sockets", os.Getenv("LISTEN_FDS"))
	}
	var listeners []net.Listener
	for fd := 3; fd < 3+n; fd++ {
		f := os.NewFile(uintptr(fd), fmt.Sprintf("fd %d", fd))
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("listen on fd %d: %w", fd, err)
		}
		f.Close()
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func delay(name string) error {
	s := os.Getenv(name)
	if s == "" {
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	time.Sleep(d)
	return nil
}

// A server answers with what it knows of itself.
type server struct{ *graceful.Server }

// serve accepts on all listeners. An error that is received is the end of one of them.
func (s *server) serve(listeners []net.Listener) <-chan error {
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() {
			if err := s.Serve(l); err != nil {
				failed <- err
			}
		}()
	}
	return failed
}

func newServer() (*server, error) {
	s := new(server)
	s.Server = graceful.NewServer(&http.Server{Handler: s.handler()})
	if text := os.Getenv("GOHTTP_QUIET_TIME"); text != "" {
		var err error
		if s.QuietTime, err = time.ParseDuration(text); err != nil {
			return nil, fmt.Errorf("GOHTTP_QUIET_TIME: %w", err)
		}
	}
	return s, nil
}
