package notify_test

import (
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

// listenAt is a socket that goes with the test.
func listenAt(t *testing.T, path string) *notify.Socket {
	t.Helper()
	sock, err := notify.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sock.Close() })
	return sock
}

func TestWitnessGetsItsNoteWithTheMessage(t *testing.T) {
	sock, s := pair(t)
	path := filepath.Join(t.TempDir(), "witness")
	witness := listenAt(t, path)
	checkFDs(t)
	witnessed, err := s.SendWitnessed(notify.Message{{"MAINPID", "7"}}, path, notify.Message{{"X_TOLD", "1"}}, soon())
	if err != nil || !witnessed {
		t.Errorf("got %v, %v, want it witnessed", witnessed, err)
	}
	if d := mustReceive(t, sock); d.Message.String() != "MAINPID=7" {
		t.Errorf("the manager got %q", d.Message)
	}
	if d := mustReceive(t, witness); d.Message.String() != "X_TOLD=1" || d.PID != os.Getpid() {
		t.Errorf("the witness got %q of pid %d", d.Message, d.PID)
	}
}

func TestManagerIsToldWithoutAWitnessAndNeverTheOtherWayRound(t *testing.T) {
	sock, s := pair(t)
	dir := t.TempDir()
	m, note := notify.Message{{"MAINPID", "7"}}, notify.Message{{"X_TOLD", "1"}}
	if witnessed, err := s.SendWitnessed(m, filepath.Join(dir, "none"), note, soon()); err != nil || witnessed {
		t.Errorf("no witness: got %v, %v", witnessed, err)
	}
	mustReceive(t, sock)

	path := filepath.Join(dir, "witness")
	witness := listenAt(t, path)
	fill(t, s)
	if _, err := s.SendWitnessed(m, path, note, time.Time{}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("full queue: got %v, want %v", err, os.ErrDeadlineExceeded)
	}
	sock.Close()
	if _, err := s.SendWitnessed(m, path, note, soon()); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("manager that left: got %v, want %v", err, unix.ECONNREFUSED)
	}
	if _, err := witness.Receive(); err != notify.ErrEmpty {
		t.Errorf("the witness got something: %v", err)
	}
}

// sendWitnessedForever is a role: it sends until it is killed, or both queues are
// nearly full (net.unix.max_dgram_qlen is 10).
func sendWitnessedForever(manager, witness string) error {
	s, err := notify.Dial(manager)
	if err != nil {
		return err
	}
	defer s.Close()
	for i := range 8 {
		m := notify.Message{{"MAINPID", strconv.Itoa(i)}}
		if _, err := s.SendWitnessed(m, witness, m, soon()); err != nil {
			return err
		}
	}
	_, err = unix.Poll(nil, -1)
	return err
}

// TestSenderThatIsKilledHasToldBothOrNeither: what a launcher that dies while it
// publishes relies on.
func TestSenderThatIsKilledHasToldBothOrNeither(t *testing.T) {
	dir := t.TempDir()
	manager, witness := filepath.Join(dir, "manager"), filepath.Join(dir, "witness")
	for range 40 {
		ms, ws := listenAt(t, manager), listenAt(t, witness)
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{role + "=witnessed", "MANAGER=" + manager, "WITNESS=" + witness}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		first := mustReceive(t, ms)
		for range rand.IntN(2000) { // microseconds at most: the messages take that long
			unix.Getpid()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() // it was killed
		told := append([]string{first.Message.String()}, drain(t, ms)...)
		noted := drain(t, ws)
		if len(told) != len(noted) {
			t.Fatalf("the manager was told %q, the witness %q", told, noted)
		}
		for _, path := range []string{manager, witness} {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// drain is every message that waits.
func drain(t *testing.T, sock *notify.Socket) (all []string) {
	t.Helper()
	for {
		d, err := sock.Receive()
		if err == notify.ErrEmpty {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d.Message.String())
	}
}
