package handoff

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// role names, in the environment, what the test binary does when a test starts it
// again.
const role = "HANDOFF_TEST_ROLE"

var roles = map[string]func() error{
	"keeper":  roleKeeper,
	"peer":    rolePeer,
	"sender":  roleSender,
	"placing": rolePlacing,
	"guard":   roleGuard,
	"polling": rolePolling,
}

func play(name string) error {
	run, ok := roles[name]
	if !ok {
		return fmt.Errorf("unknown role %q", name)
	}
	return run()
}

// roleKeeper has the control socket and takes one connection, to which it says
// hello if it is its to answer; it prints when it listens, and what it refused.
func roleKeeper() error {
	s, err := bindControl(os.Environ())
	if err != nil {
		return err
	}
	fmt.Println("listening")
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.FD), Events: unix.POLLIN}}, 10_000); n != 1 {
		return fmt.Errorf("poll: %d connections, error %v", n, err)
	}
	c, err := acceptControl(s.FD)
	if err != nil {
		fmt.Println(err)
		return nil
	}
	if err := c.send(message{kind: "hello"}); err != nil {
		fmt.Println(err) // it has left already
	}
	return nil
}

// rolePeer connects to the control socket whoever has it, and prints what it hears.
func rolePeer() error {
	spec, err := controlSpec(os.Environ())
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: spec.Address}); err != nil {
		return err
	}
	c, err := newChannel(fd)
	if err != nil {
		return err
	}
	m, err := c.receive()
	if err == io.EOF {
		fmt.Println("hung up")
		return nil
	}
	fmt.Println(m.kind)
	return err
}

// as is the test binary in a role, as a user who may be another. Its control socket
// has an abstract name, which no directory and no mode protects.
func as(uid int, name string) *exec.Cmd {
	// The test binary may lie where only we can reach it.
	cmd := exec.Command("/proc/self/exe")
	// The race detector would have each of them wait a second at its end.
	cmd.Env = append(abstractControl(), role+"="+name, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	if uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	return cmd
}

func abstractControl() []string { return []string{fmt.Sprintf("INVOCATION_ID=test-%d", os.Getpid())} }

// startKeeper returns when the keeper listens. What it prints later comes from the
// function, which waits for its end.
func startKeeper(t *testing.T, uid int) (rest func() string) {
	t.Helper()
	cmd := as(uid, "keeper")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	if line, err := r.ReadString('\n'); line != "listening\n" {
		t.Fatalf("keeper: %q, %v", line, errors.Join(err, cmd.Wait()))
	}
	return func() string {
		b, err := io.ReadAll(r)
		if err := errors.Join(err, cmd.Wait()); err != nil {
			t.Errorf("keeper: %v", err)
		}
		return strings.TrimSpace(string(b))
	}
}

const nobody, somebody = 65534, 65533

// TestOnlyRootAndTheSameUserAreAnswered: invariant I9 at the control socket, with
// processes of real users.
func TestOnlyRootAndTheSameUserAreAnswered(t *testing.T) {
	us := os.Geteuid()
	for _, c := range []struct {
		name         string
		keeper, peer int
		heard        string
		refused      string
	}{
		{"the same user", us, us, "hello", ""},
		{"the same user without privileges", nobody, nobody, "hello", ""},
		{"root at a user's", nobody, 0, "hello", ""},
		{"a user at root's", 0, nobody, "hung up", "control socket: peer is user 65534, neither root nor user 0"},
		{"a user at another's", nobody, somebody, "hung up", "control socket: peer is user 65533, neither root nor user 65534"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if us != 0 && (c.keeper != us || c.peer != us) {
				t.Fatal("needs root, to be somebody else")
			}
			rest := startKeeper(t, c.keeper)
			out, err := as(c.peer, "peer").Output()
			if got := strings.TrimSpace(string(out)); got != c.heard || err != nil {
				t.Errorf("the peer heard %q, %v, want %q", got, err, c.heard)
			}
			if got := rest(); got != c.refused {
				t.Errorf("the keeper said %q, want %q", got, c.refused)
			}
		})
	}
}

// TestImpostorIsNotAsked: invariant I9 from the other end. Anybody can take an
// abstract name first; a launcher must not hand its sockets to him.
func TestImpostorIsNotAsked(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root, to be somebody else")
	}
	checkFDs(t)
	rest := startKeeper(t, nobody)
	c, err := connectControl(abstractControl())
	if err == nil {
		c.close()
	}
	checkError(t, "connectControl", err, fmt.Sprintf("peer is user %d, neither root nor user %d", nobody, os.Geteuid()))
	rest()
}
