package graceful_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flipexec/flipexec/graceful"
	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// role names, in the environment, the socket that the test binary serves when a test
// starts it again.
const role = "GRACEFUL_TEST_SOCKET"

func TestMain(m *testing.M) {
	name := os.Getenv(role)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := run(name); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(name string) error {
	for _, pid := range []string{"LISTEN_PID", "WATCHDOG_PID"} {
		if os.Getenv(pid) == "own" {
			os.Setenv(pid, strconv.Itoa(os.Getpid()))
		}
	}
	p, err := graceful.New()
	if err != nil {
		return err
	}
	l, err := p.Listen(name, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.Serve(l, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })})
	return p.Run()
}

// start runs the test binary as a server that is passed a listener called http.
func start(t *testing.T, socket string, env ...string) (cmd *exec.Cmd, addr string, manager *notify.Socket, stderr *strings.Builder) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	path := filepath.Join(t.TempDir(), "notify")
	if manager, err = notify.Listen(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { manager.Close() })
	stderr = new(strings.Builder)
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"="+socket, "NOTIFY_SOCKET="+path, "LISTEN_PID=own", "LISTEN_FDS=1", "LISTEN_FDNAMES=http", "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, env...)
	cmd.ExtraFiles, cmd.Stderr = []*os.File{f}, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, l.Addr().String(), manager, stderr
}

// await is the next message to the manager.
func await(t *testing.T, manager *notify.Socket) notify.Message {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(manager.FD()), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, int(patience.Milliseconds())); n != 1 {
		t.Fatalf("no message: %v", err)
	}
	d, err := manager.Receive()
	if err != nil {
		t.Fatal(err)
	}
	return d.Message
}

func TestProcessServesWhatItWasPassed(t *testing.T) {
	cmd, addr, manager, stderr := start(t, "http", "WATCHDOG_USEC=100000", "WATCHDOG_PID=own")
	for _, want := range []string{"READY", "WATCHDOG", "WATCHDOG"} {
		if m := await(t, manager); !m.Is(want, "1") {
			t.Errorf("message: got %v, want %s=1", m, want)
		}
	}
	c := dial(t, addr)
	if last, err := ask(t, c); last || err != nil {
		t.Errorf("Connection: close is %v, %v", last, err)
	}
	for range 2 { // systemd sends a second one
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(patience); ; {
		last, err := ask(t, c)
		if err != nil {
			t.Fatal(err)
		}
		if last {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no answer says Connection: close")
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, stderr)
	}
}

func TestProcessWithoutItsSocketSaysWhatIsMissing(t *testing.T) {
	cmd, _, _, stderr := start(t, "admin")
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Errorf("got %v, want an exit status", err)
	}
	want := "socket \"admin\": no such socket was passed; hint: flipexec --listen admin=tcp:127.0.0.1:0\n"
	if stderr.String() != want {
		t.Errorf("got %q, want %q", stderr, want)
	}
}

func TestProcessWithoutSocketsListensItself(t *testing.T) {
	p, err := graceful.New()
	if err != nil {
		t.Fatal(err)
	}
	l, err := p.Listen("http", "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := p.ListenPacket("dns", "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dial(t, l.Addr().String())
}
