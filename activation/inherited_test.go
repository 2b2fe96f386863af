package activation_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// inRole starts the test binary again with sockets from descriptor 3 on. In
// variables, PID is the new process's own, and PIDFDID its pidfd's inode number.
func inRole(t *testing.T, name string, sockets []activation.Socket, variables ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	// The race detector would have the process wait for a second at its end.
	cmd.Env = append(os.Environ(), role+"="+name, "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, variables...)
	for _, s := range sockets {
		fd, err := unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), s.Name)
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return strings.TrimSpace(stderr.String()), err
	}
	return strings.TrimSpace(stdout.String()), nil
}

// ownNumbers replaces PID and PIDFDID in the environment.
func ownNumbers() error {
	for _, name := range []string{activation.EnvPID, activation.EnvPIDFDID} {
		switch os.Getenv(name) {
		case "PID":
			os.Setenv(name, strconv.Itoa(os.Getpid()))
		case "PIDFDID":
			id, err := ownPIDFDID()
			if err != nil {
				return err
			}
			os.Setenv(name, strconv.FormatUint(id, 10))
		}
	}
	return nil
}

func ownPIDFDID() (uint64, error) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return activation.PIDFDID(fd)
}

// roleInherited prints what was inherited, as "FD NAME TYPE CLOEXEC", after it
// opened descriptors of its own behind it.
func roleInherited() error {
	if err := ownNumbers(); err != nil {
		return err
	}
	var own [2]int
	if err := unix.Pipe2(own[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	sockets, err := activation.Inherited(os.LookupEnv)
	if err != nil {
		return err
	}
	return printSockets(sockets)
}

// printSockets has the test that started this role see them.
func printSockets(sockets []activation.Socket) error {
	for _, s := range sockets {
		typ, err := unix.GetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil {
			return err
		}
		flags, err := unix.FcntlInt(uintptr(s.FD), unix.F_GETFD, 0)
		if err != nil {
			return err
		}
		fmt.Printf("%d %s %d %v %q\n", s.FD, s.Name, typ, flags == unix.FD_CLOEXEC, s.Spec)
	}
	return nil
}

// roleTake prints the names of what was taken, and the protocol's variables.
func roleTake() error {
	if err := ownNumbers(); err != nil {
		return err
	}
	p, err := activation.Take()
	left := ""
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "LISTEN_") {
			left += " " + v
		}
	}
	if err != nil {
		return fmt.Errorf("error: %w; left:%s", err, left)
	}
	fmt.Printf("names: %s; left:%s\n", strings.Join(p.Names(), ","), left)
	return nil
}

func TestInheritedReturnsWhatWasPassed(t *testing.T) {
	sockets := []activation.Socket{bind(t, "tcp:127.0.0.1:0"), bind(t, "udp:127.0.0.1:0")}
	both := "3 a 1 true \"\"\n4 b 2 true \"\""
	for _, c := range []struct {
		name string
		env  []string
		want string
	}{
		{"two with names", []string{"LISTEN_PID=PID", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b"}, both},
		{"without names", []string{"LISTEN_PID=PID", "LISTEN_FDS=1"}, `3 unknown 1 true ""`},
		{"right pidfd", []string{"LISTEN_PID=PID", "LISTEN_PIDFDID=PIDFDID", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b"}, both},
		{"stale pidfd", []string{"LISTEN_PID=PID", "LISTEN_PIDFDID=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b"}, ""},
		{"somebody else's", []string{"LISTEN_PID=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b"}, ""},
		{"for nobody", []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=a:b"}, ""},
		{"none passed", []string{"LISTEN_PID=PID", "LISTEN_FDS=0"}, ""},
		{"no variables", nil, ""},
	} {
		got, err := inRole(t, "inherited", sockets, c.env...)
		if err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

// TestDescriptorsThatWereNotPassedAreRefused: invariant I10, for variables that lie.
func TestDescriptorsThatWereNotPassedAreRefused(t *testing.T) {
	sockets := []activation.Socket{bind(t, "tcp:127.0.0.1:0")}
	for _, c := range []struct {
		name, fds, want string
	}{
		{"opened by the process itself", "2", "LISTEN_FDS=2: descriptor 4 was not passed"},
		{"not open", "900", "was not passed"},
		{"no number", "many", `LISTEN_FDS="many" is no number of descriptors`},
	} {
		got, err := inRole(t, "inherited", sockets, "LISTEN_PID=PID", "LISTEN_FDS="+c.fds)
		if err == nil || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestTakeRemovesTheVariables(t *testing.T) {
	sockets := []activation.Socket{bind(t, "tcp:127.0.0.1:0"), bind(t, "udp:127.0.0.1:0")}
	got, err := inRole(t, "take", sockets, "LISTEN_PID=PID", "LISTEN_PIDFDID=PIDFDID", "LISTEN_FDS=2", "LISTEN_FDNAMES=b:a")
	if want := "names: b,a; left:"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	got, err = inRole(t, "take", nil)
	if want := "names: ; left:"; err != nil || got != want {
		t.Errorf("without sockets: got %q, %v, want %q", got, err, want)
	}
	got, err = inRole(t, "take", sockets, "LISTEN_PID=PID", "LISTEN_FDS=2", "LISTEN_FDNAMES=b")
	if want := "error: "; err == nil || !strings.Contains(got, want) || !strings.HasSuffix(got, "left:") {
		t.Errorf("malformed: got %q, %v, want an error and no variable left", got, err)
	}
}

func TestPIDFDIDNamesTheProcess(t *testing.T) {
	checkFDs(t)
	own, err := ownPIDFDID()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ownPIDFDID()
	if err != nil || again != own {
		t.Errorf("got %d, %v, want %d again", again, err, own)
	}
	fd, err := unix.PidfdOpen(os.Getppid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if other, err := activation.PIDFDID(fd); err != nil || other == own && own != 0 {
		t.Errorf("another process: got %d, %v, want another number", other, err)
	}
	if _, err := activation.PIDFDID(-1); err == nil {
		t.Error("got a number for no descriptor")
	}
}
