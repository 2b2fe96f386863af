//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// terminal is flipexec in the foreground, as a person starts it: neither systemd nor
// root is there.
type terminal struct {
	dir    string // of the programs, and for sockets and PID file
	port   string
	front  *exec.Cmd
	output bytes.Buffer // of flipexec and the servers
	exited chan error
}

func (t *terminal) start() (err error) {
	if t.port, err = freePort(); err != nil {
		return err
	}
	t.front = t.flipexec("--listen", "http=tcp:"+t.port, "--pid-file", t.pidFile(), "--", filepath.Join(t.dir, "gohttp"))
	t.front.Stdout, t.front.Stderr = &t.output, &t.output
	if err := t.front.Start(); err != nil {
		return err
	}
	t.exited = make(chan error, 1)
	go func() { t.exited <- t.front.Wait() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for t.mainPID() == "" { // it is written once the server is ready
		select {
		case err := <-t.exited:
			t.exited <- err
			return fmt.Errorf("flipexec: %w\n%s", err, &t.output)
		case <-tick.C:
		}
	}
	return nil
}

// freePort is an address that nobody uses just now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (t *terminal) flipexec(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(t.dir, "flipexec"), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "FLIPEXEC_RUNTIME_DIRECTORY=" + t.dir}
	return cmd
}

func (t *terminal) reload() error {
	if out, err := t.flipexec("reload").CombinedOutput(); err != nil {
		return fmt.Errorf("flipexec reload: %w\n%s", err, out)
	}
	return nil
}

func (t *terminal) failingReload() (reason string, err error) {
	out, err := t.flipexec("reload", "--", "/bin/sh", "-c", "exit 3").CombinedOutput()
	if err == nil {
		return "", errors.New("flipexec reload of a broken server: got success")
	}
	return lastReason(string(out)), nil
}

func (t *terminal) stop() (outcome string, err error) {
	if err := t.front.Process.Signal(syscall.SIGTERM); err != nil {
		return "", err
	}
	select {
	case err = <-t.exited:
	case <-time.After(patience):
		err = errors.New("flipexec does not leave")
	}
	t.exited <- err
	return fmt.Sprintf("kill -TERM: %v", t.front.ProcessState), err
}

func (t *terminal) close() error {
	if t.exited == nil {
		return nil
	}
	t.front.Process.Kill() // best effort: it has left, unless something failed
	<-t.exited
	return nil
}

func (t *terminal) pidFile() string { return filepath.Join(t.dir, "web.pid") }

func (t *terminal) mainPID() string {
	b, err := os.ReadFile(t.pidFile())
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (t *terminal) about() string   { return "flipexec in the foreground" }
func (t *terminal) verb() string    { return "flipexec" }
func (t *terminal) address() string { return t.port }

func (t *terminal) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}
