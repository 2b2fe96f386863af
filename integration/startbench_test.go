//go:build linux

package integration

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// starts is how often each way of a start is measured.
const starts = 250

// BenchmarkStart measures from execve(2) of flipexec to main of the server, beside the
// same program doing nothing but execve(2), which is a stage, and beside a Go program
// that has nothing else to do. In random order, so that all see the same machine.
func BenchmarkStart(b *testing.B) {
	buildReferences(b)
	m := newFakeManager(b)
	ways := []struct {
		name, program string
		argv          []string
		env           []string
	}{
		{"direct", reference("clock"), []string{"clock"}, nil},
		{"goexec", reference("goexec"), []string{"goexec", reference("clock")}, nil},
		{"stage", reference("flipexec"), []string{"flipexec-stage", "3", "false", reference("clock"), "clock"}, nil},
		{"flipexec", reference("flipexec"), []string{"flipexec", "--listen", "http=tcp:127.0.0.1:0", "--", reference("clock")}, m.env},
	}
	took := map[string][]time.Duration{}
	for b.Loop() {
		for range starts {
			for _, i := range rand.Perm(len(ways)) {
				w := ways[i]
				took[w.name] = append(took[w.name], m.start(b, w.env, w.program, w.argv))
			}
		}
	}
	at := func(name string) float64 { return milliseconds(median(took[name])) }
	b.ReportMetric(0, "ns/op")
	for _, w := range ways {
		b.ReportMetric(at(w.name), w.name+"-ms")
	}
	for _, name := range []string{"stage", "goexec"} {
		b.ReportMetric(at("flipexec")/at(name), "x-"+name)
		b.ReportMetric((at("flipexec")-at("direct"))/(at(name)-at("direct")), "x-added-by-"+name)
	}
	b.Log("goal: x-stage at most 4; added: both less the direct run")
}

// A fakeManager is as much of systemd as a start needs: NOTIFY_SOCKET, and the parent
// that keeper and server get by CLONE_PARENT.
type fakeManager struct {
	socket *notify.Socket
	env    []string
}

func newFakeManager(t testing.TB) *fakeManager {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "manager")
	socket, err := notify.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return &fakeManager{socket, []string{"NOTIFY_SOCKET=" + path, "RUNTIME_DIRECTORY=" + dir, "PATH=" + os.Getenv("PATH")}}
}

// start runs the program with the clock as its server, and returns the time between
// them. With an environment it is a launcher: its server is ended once it is current.
func (m *fakeManager) start(t testing.TB, env []string, program string, argv []string) time.Duration {
	t.Helper()
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(t.Context(), reference("clock"), append([]string{program}, argv...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append([]string{}, env...), &out, &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	generation := 0
	if env != nil {
		generation = 1
		if err := m.follow(cmd.Process.Pid); err != nil {
			t.Fatalf("start: %v\n%s", err, &complaints)
		}
	}
	err := cmd.Wait() // for the end of standard output, which all have
	if rerr := reapAll(); err == nil {
		err = rerr
	}
	if err != nil {
		t.Fatalf("start: %v\n%s", err, &complaints)
	}
	events := parseClock(t, out.String())
	return when(t, events, "main", generation) - when(t, events, "exec", 0)
}

// follow answers the launcher until its barrier has passed and it has left, and then
// stops the server: the keeper leaves with it.
func (m *fakeManager) follow(launcher int) error {
	server := 0
	for {
		fds := []unix.PollFd{{Fd: int32(m.socket.FD()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 10_000)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return errors.New("the launcher says nothing")
		}
		d, err := m.socket.Receive()
		if err != nil {
			return err
		}
		if text, ok := d.Message.Get("MAINPID"); ok {
			if server, err = strconv.Atoi(text); err != nil {
				return err
			}
		}
		for _, fd := range d.FDs {
			unix.Close(fd)
		}
		if d.Message.Is("BARRIER", "1") {
			if err := awaitExit(launcher); err != nil {
				return err
			}
			return end(server)
		}
	}
}

// awaitExit waits for a process of ours and leaves it to be reaped.
func awaitExit(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return os.NewSyscallError("waitid", err)
		}
	}
}

// end stops a process of ours, so that the number is its own until it is reaped.
func end(pid int) error {
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		return os.NewSyscallError("kill", err)
	}
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return os.NewSyscallError("wait4", err)
		}
	}
}

// reapAll waits for every child of this process: the keeper, and nothing else, because
// this runs alone.
func reapAll() error {
	for {
		_, err := unix.Wait4(-1, nil, 0, nil)
		switch err {
		case nil, unix.EINTR:
		case unix.ECHILD:
			return nil
		default:
			return os.NewSyscallError("wait4", err)
		}
	}
}
