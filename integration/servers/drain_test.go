//go:build linux

package servers_test

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/load"
)

// waitNotListening waits until the process has closed the listener.
func waitNotListening(t *testing.T, p *process, listener *os.File) {
	t.Helper()
	info, err := listener.Stat()
	if err != nil {
		t.Fatal(err)
	}
	socket := fmt.Sprintf("socket:[%d]", info.Sys().(*syscall.Stat_t).Ino)
	dir := fmt.Sprintf("/proc/%d/fd/", p.cmd.Process.Pid)
	for deadline := time.Now().Add(patience); holds(t, dir, socket); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("listener: still open")
		}
	}
}

// holds says whether one of the descriptors in /proc/PID/fd is the socket.
func holds(t *testing.T, dir, socket string) bool {
	t.Helper()
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(fds, func(fd os.DirEntry) bool {
		link, err := os.Readlink(dir + fd.Name())
		return err == nil && link == socket
	})
}

func TestGohttpAnswersWhatItAcceptedBeforeSIGTERM(t *testing.T) {
	listener, addr := listen(t)
	p := start(t, listener, ".", nil, gohttp(t))
	p.wantMessage("READY=1")
	kept := dial(t, addr)
	if exchange(t, kept).Close {
		t.Error("before SIGTERM: got Connection: close")
	}
	p.terminate()
	waitNotListening(t, p, listener)
	if !exchange(t, kept).Close {
		t.Error("after SIGTERM: got no Connection: close")
	}
	p.wantExit(0)
}

func TestGohttpLosesNothingBesideAnotherGeneration(t *testing.T) {
	for name, conns := range map[string]int{"new connections": 0, "kept connections": 8} {
		t.Run(name, func(t *testing.T) {
			listener, addr := listen(t)
			server := gohttp(t)
			old := start(t, listener, ".", nil, server)
			old.wantMessage("READY=1")
			g := load.Start(load.Config{Dial: new(net.Dialer).DialContext, Network: "tcp", Addr: addr, Rate: 300, Conns: conns, Timeout: patience})
			g.Mark("handoff")
			start(t, listener, ".", nil, server).wantMessage("READY=1")
			old.terminate()
			old.wantExit(0)
			g.EndMark()
			r := g.Stop()
			if r.Failures() != 0 || r.OK != r.Sent || len(r.Answers) == 0 {
				t.Error(strings.TrimSpace(r.String()))
			}
		})
	}
}
