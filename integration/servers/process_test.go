//go:build linux

// Package servers_test checks that the servers of the integration tests keep their part of the contract, without
// flipexec between them and the test.
package servers_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 30 * time.Second

// A process is a server that has been started with one socket and a notify socket of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	output bytes.Buffer // complete when exit is closed
	exit   chan struct{}
	notify *net.UnixConn
	lines  chan string // of the datagrams; closed at the end
}

// listen returns a listener to start servers with, and its address. It is made with raw system calls, because a
// listener of package net is non-blocking, and os/exec would make it blocking for everybody at each start.
func listen(t *testing.T) (*os.File, string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "listener")
	t.Cleanup(func() { f.Close() })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 4096); err != nil {
		t.Fatal(err)
	}
	addr, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return f, fmt.Sprintf("127.0.0.1:%d", addr.(*syscall.SockaddrInet4).Port)
}

// start runs argv in dir with the listener as descriptor 3. The shell becomes the server, so that $$ is its PID.
func start(t *testing.T, listener *os.File, dir string, env []string, argv ...string) *process {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, notify: notify, exit: make(chan struct{}), lines: make(chan string, 100)}
	p.cmd = exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=${LISTEN_PID:-$$} WATCHDOG_PID=$$ exec "$@"`, "sh"}, argv...)...)
	p.cmd.Dir = dir
	p.cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1", "LISTEN_FDS=1",
		"NOTIFY_SOCKET=" + path, "FLIPEXEC_GENERATION=7"}, env...)
	p.cmd.ExtraFiles = []*os.File{listener}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.receive()
	go func() {
		_ = p.cmd.Wait() // ProcessState says it all
		close(p.exit)
	}()
	t.Cleanup(p.end)
	return p
}

// end kills what is left of the server and its descendants.
func (p *process) end() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // nobody may be left
	<-p.exit
	p.notify.Close()
	if p.t.Failed() {
		p.t.Logf("output of %s:\n%s", strings.Join(p.cmd.Args, " "), p.output.Bytes())
	}
}

// receive reads all datagrams, wanted or not, until end closes the socket: systemd-notify does not end before its
// BARRIER=1 has been read, which closes the descriptor that comes with it.
func (p *process) receive() {
	defer close(p.lines)
	var buf [4096]byte
	for {
		n, err := p.notify.Read(buf[:])
		if err != nil {
			return
		}
		for line := range strings.SplitSeq(string(buf[:n]), "\n") {
			select {
			case p.lines <- line:
			default: // watchdog messages that no test asks for
			}
		}
	}
}

// wantMessage waits for a line of a datagram.
func (p *process) wantMessage(line string) {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case got := <-p.lines:
			if got == line {
				return
			}
		case <-p.exit:
			p.t.Fatalf("wait for %s: server has exited: %v", line, p.cmd.ProcessState)
		case <-timeout:
			p.t.Fatalf("wait for %s: none after %v", line, patience)
		}
	}
}

func (p *process) terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) wantExit(want int) {
	p.t.Helper()
	select {
	case <-p.exit:
	case <-time.After(patience):
		p.t.Fatalf("exit: none after %v", patience)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		p.t.Errorf("exit status: got %d (%v), want %d", got, p.cmd.ProcessState, want)
	}
}
