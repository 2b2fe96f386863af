package handoff

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/flipexec/flipexec/notify"
	"github.com/flipexec/flipexec/pidfile"
	"golang.org/x/sys/unix"
)

// TestServerThatDiesWhileItIsPublishedIsTakenBack: PID file and main PID are the
// previous server's again, and its keeper was told nothing: invariants I2 and I4.
func TestServerThatDiesWhileItIsPublishedIsTakenBack(t *testing.T) {
	dir := t.TempDir()
	manager, err := notify.Listen(filepath.Join(dir, "notify"))
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	pidPath := filepath.Join(dir, "web.pid")
	previous, dead := hold(t, exec.Command("sleep", "60")), hold(t, exec.Command("true"))
	if _, err := pidfile.Write(pidPath, previous.pid); err != nil {
		t.Fatal(err)
	}
	l := &launcher{predecessor: &predecessor{generation: 1, server: previous}, main: dead}
	l.Generation = 2
	if l.pidFile, err = pidfile.Write(pidPath, dead.pid); err != nil {
		t.Fatal(err)
	}
	if l.manager, err = notify.Dial(filepath.Join(dir, "notify")); err != nil {
		t.Fatal(err)
	}
	defer l.manager.Close()
	var keeper, oldKeeper *channel
	l.keeperChannel, keeper = channelPair(t)
	l.predecessor.keeper, oldKeeper = channelPair(t)

	failure := message{kind: msgFailed}
	failure.add("reason", "server exited with status 3 as soon as it was ready")
	failure.add("code", "1")
	if err := keeper.send(failure); err != nil {
		t.Fatal(err)
	}
	answered := make(chan notify.Message, 1)
	go func() { answered <- answerBarrier(manager) }()
	checkError(t, "awaitDone", l.awaitDone(), "server exited with status 3")

	if m := <-answered; !m.Is("MAINPID", fmt.Sprint(previous.pid)) || !m.Is("READY", "1") {
		t.Errorf("the manager was told %v, want MAINPID=%d", m, previous.pid)
	}
	if pid, err := pidfile.Read(pidPath); err != nil || pid != previous.pid {
		t.Errorf("PID file: got %d, %v, want %d", pid, err, previous.pid)
	}
	l.predecessor.keeper.close()
	if m, err := oldKeeper.receive(); err == nil {
		t.Errorf("the previous keeper was told %q", m.kind)
	}
}

// hold starts a command and holds it by a pidfd. "true" has exited when it returns.
func hold(t *testing.T, cmd *exec.Cmd) process {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.signal(unix.SIGKILL)
		cmd.Wait()
		p.close()
	})
	if filepath.Base(cmd.Path) == "true" {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, 10_000); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func channelPair(t *testing.T) (a, b *channel) {
	t.Helper()
	a, b, err := newChannelPair()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// answerBarrier is the manager: it returns the first message once it has closed the
// descriptors of the second.
func answerBarrier(manager *notify.Socket) notify.Message {
	var first notify.Message
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(manager.FD()), Events: unix.POLLIN}}, 10_000); err != nil && err != unix.EINTR {
			return first
		}
		d, err := manager.Receive()
		if err != nil {
			return first
		}
		closeAll(d.FDs)
		if d.Message.Is("BARRIER", "1") {
			return first
		}
		first = d.Message
	}
}
