//go:build linux

package main

import (
	"cmp"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// requestSize divides the size of a FIFO, so that two who read it never share a request.
const requestSize = 64

// patience is for what a client does at once.
const patience = 10 * time.Second

// A server answers with its generation.
type server struct {
	epoll  int
	answer []byte
	serve  map[int32]func(fd int) error // by descriptor
}

func serve() error {
	sockets, err := activation.Inherited(os.LookupEnv)
	if err != nil {
		return err
	}
	if err := delay(); err != nil {
		return err
	}
	stop, err := stopped()
	if err != nil {
		return err
	}
	s := &server{answer: []byte(cmp.Or(os.Getenv("FLIPEXEC_GENERATION"), "0")), serve: map[int32]func(int) error{}}
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err := s.add(stop, nil); err != nil {
		return err
	}
	for _, socket := range sockets {
		if err := s.add(socket.FD, s.how(socket.FD)); err != nil {
			return err
		}
	}
	if err := sayReady(); err != nil {
		return err
	}
	return s.run(int32(stop))
}

func delay() error {
	text := os.Getenv("KINDS_START_DELAY")
	if text == "" {
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("KINDS_START_DELAY: %w", err)
	}
	time.Sleep(d)
	return nil
}

// stopped is a descriptor that can be read once SIGTERM came.
func stopped() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return -1, err
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	go func() {
		<-term
		unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // cannot fail
	}()
	return fd, nil
}

func sayReady() error {
	manager, err := notify.Dial(os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	defer manager.Close()
	return manager.Send(notify.Message{{Key: "READY", Value: "1"}}, time.Now().Add(patience))
}

func (s *server) add(fd int, serve func(int) error) error {
	s.serve[int32(fd)] = serve
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// how chooses what is done when the descriptor can be read.
func (s *server) how(fd int) func(int) error {
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return s.serveFIFO
	}
	if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && listens == 1 {
		return s.serveConnection
	}
	return s.serveDatagram
}

// run comes back at SIGTERM, with nothing half done.
func (s *server) run(stop int32) error {
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(s.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			if e.Fd == stop {
				return nil
			}
			// The other generation may have been faster, and a client may be gone.
			if err := s.serve[e.Fd](int(e.Fd)); err != nil && err != unix.EAGAIN {
				fmt.Fprintf(os.Stderr, "kinds: descriptor %d: %v\n", e.Fd, err)
			}
		}
	}
}

func (s *server) serveConnection(fd int) error {
	c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(c)
	if err := bound(c); err != nil {
		return err
	}
	if _, err := read(c, make([]byte, requestSize)); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return send(c, s.answer)
}

func (s *server) serveDatagram(fd int) error {
	_, from, err := unix.Recvfrom(fd, make([]byte, requestSize), unix.MSG_DONTWAIT)
	if err != nil {
		return err
	}
	return unix.Sendto(fd, s.answer, 0, from)
}

func (s *server) serveFIFO(fd int) error {
	request := make([]byte, requestSize)
	n, err := read(fd, request)
	if err != nil {
		return err
	}
	if n != requestSize {
		return fmt.Errorf("request of %d bytes", n)
	}
	out, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(out)
	return unix.Sendto(out, s.answer, 0, &unix.SockaddrUnix{Name: strings.TrimSpace(string(request))})
}

// again makes a system call that no signal interrupts: those with a timeout are not taken
// up again by the kernel. (connect(2) goes on where it was.)
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func send(fd int, b []byte) error {
	if err := again(func() error { return unix.Sendto(fd, b, unix.MSG_NOSIGNAL, nil) }); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

func read(fd int, b []byte) (n int, err error) {
	err = again(func() (err error) {
		n, err = unix.Read(fd, b)
		return err
	})
	return n, err
}

// bound ends waits for a peer.
func bound(fd int) error {
	tv := unix.NsecToTimeval(patience.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &tv); err != nil {
			return fmt.Errorf("setsockopt: %w", err)
		}
	}
	return nil
}
