package graceful

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/flipexec/flipexec/activation"
)

// A Process is this one, as a server that can be replaced. Its methods but Stopping are
// called from one goroutine.
type Process struct {
	passed   *activation.Passed // nil if it was started without sockets
	stopping chan struct{}
	order    []*Server
	served   map[*http.Server]*Server
	sockets  map[*Server][]net.Listener
}

// New takes the sockets that were passed, with their variables out of the environment,
// and the signals that mean "finish": SIGTERM if none is named. It is called once,
// before the process opens descriptors of its own. More such signals mean no more than
// the first one: systemd sends a second one to a server that finishes already.
func New(stop ...os.Signal) (*Process, error) {
	p := &Process{stopping: make(chan struct{}), served: map[*http.Server]*Server{}, sockets: map[*Server][]net.Listener{}}
	if _, passed := os.LookupEnv(activation.EnvFDs); passed {
		var err error
		if p.passed, err = activation.Take(); err != nil {
			return nil, err
		}
	}
	if len(stop) == 0 {
		stop = []os.Signal{syscall.SIGTERM}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, stop...)
	go func() {
		<-signals
		close(p.stopping)
	}()
	return p, nil
}

// Listen is the listener that was passed under name. If the process was started without
// any sockets, it is a new one, as of net.Listen. The caller closes it, or Run does.
func (p *Process) Listen(name, network, address string) (net.Listener, error) {
	if p.passed == nil {
		return net.Listen(network, address)
	}
	l, err := p.passed.Listener(name)
	return l, hint(err, name, network, address)
}

// ListenPacket is the packet connection that was passed under name, or a new one as of
// net.ListenPacket.
func (p *Process) ListenPacket(name, network, address string) (net.PacketConn, error) {
	if p.passed == nil {
		return net.ListenPacket(network, address)
	}
	c, err := p.passed.PacketConn(name)
	return c, hint(err, name, network, address)
}

// hint says what would pass the socket.
func hint(err error, name, network, address string) error {
	if !errors.Is(err, activation.ErrNotPassed) {
		return err
	}
	return fmt.Errorf("%w; hint: flipexec --listen %s=%s:%s", err, name, network, address)
}

// Serve has s serve on l, with or without others, as soon as Run is called. The handler
// and the ConnState of s are wrapped.
func (p *Process) Serve(l net.Listener, s *http.Server) {
	server := p.served[s]
	if server == nil {
		server = NewServer(s)
		p.served[s], p.order = server, append(p.order, server)
	}
	p.sockets[server] = append(p.sockets[server], l)
}

// Ready tells the manager that the process serves, with READY=1 of sd_notify(3), and begins
// with its watchdog if there is one. Sockets that nobody asked for are closed. It
// does nothing where there is no manager. Run calls it; a server without HTTP does by
// itself.
func (p *Process) Ready() error {
	if p.passed != nil {
		p.passed.Close()
	}
	if err := notifyManager("READY", "1"); err != nil {
		return err
	}
	return startWatchdog()
}

// Stopping is closed when the process is to finish.
func (p *Process) Stopping() <-chan struct{} { return p.stopping }

// Run serves, says that it is ready, and blocks until the process was told to finish and
// everything that was accepted is answered: it returns nil then. An error is that of a
// listener, or of READY=1. How long the end may take is the manager's business.
func (p *Process) Run() error {
	failed := make(chan error, 1)
	for _, s := range p.order {
		for _, l := range p.sockets[s] {
			go func() {
				if err := s.Serve(l); err != nil {
					select {
					case failed <- err:
					default: // one is enough
					}
				}
			}()
		}
	}
	if err := p.Ready(); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	case <-p.stopping:
	}
	return p.drain()
}

func (p *Process) drain() error {
	errs := make([]error, len(p.order))
	var all sync.WaitGroup
	for i, s := range p.order {
		all.Go(func() { errs[i] = s.Drain() })
	}
	all.Wait()
	return errors.Join(errs...)
}
