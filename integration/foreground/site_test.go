//go:build linux

package foreground_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A site is where one flipexec and its servers live: a directory, and what the servers
// tell of themselves.
type site struct {
	t     *testing.T
	dir   string
	told  *record // a line for each thing that a server saw
	sock  *net.UnixConn
	extra []string // of the environment
}

func newSite(t *testing.T, env ...string) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "fx") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir, told: newRecord(), extra: env}
	if err := os.Mkdir(s.runtime(), 0o700); err != nil {
		t.Fatal(err)
	}
	if s.sock, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "witness"), Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	go func() {
		var buf [4096]byte
		for {
			n, err := s.sock.Read(buf[:])
			if err != nil {
				return
			}
			fmt.Fprintf(s.told, "%s\n", buf[:n])
		}
	}()
	t.Cleanup(s.clear)
	return s
}

// clear ends what a failed test has left.
func (s *site) clear() {
	if s.t.Failed() {
		s.t.Logf("the servers told:\n%s", s.told)
	}
	for _, pid := range s.processes() {
		unix.Kill(pid, unix.SIGKILL)
	}
	s.sock.Close()
	os.RemoveAll(s.dir)
}

// runtime is where flipexec has its sockets.
func (s *site) runtime() string { return filepath.Join(s.dir, "run") }

func (s *site) env() []string {
	path := programs + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
	return append([]string{"PATH=" + path, "TERM=dumb", "PS1=" + prompt, "HOME=" + s.dir, "WITNESS=" + filepath.Join(s.dir, "witness"),
		"FLIPEXEC_RUNTIME_DIRECTORY=" + s.runtime()}, s.extra...)
}

// command is a process of the site, with what it says in the record.
func (s *site) command(argv ...string) (*exec.Cmd, *record) {
	out := newRecord()
	cmd := exec.Command("/usr/bin/env", argv...) // looks in our PATH
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.env(), s.dir, out, out
	cmd.WaitDelay = patience // who keeps the output open has been left behind
	return cmd, out
}

// processes are all of the site but ourselves: they have its socket in their environment.
func (s *site) processes() (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(proc(pid, "environ"))
		if err == nil && slices.Contains(strings.Split(string(env), "\x00"), "WITNESS="+filepath.Join(s.dir, "witness")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// proc is a file of a process, proc(5).
func proc(pid int, file string) string { return fmt.Sprintf("/proc/%d/%s", pid, file) }

// state is the letter in proc_pid_stat(5), and parent the number behind it.
func state(pid int) string { return statField(pid, 0) }

func parent(pid int) int {
	ppid, _ := strconv.Atoi(statField(pid, 1)) // 0 if the process is gone
	return ppid
}

// children of a process, also those that have ended and were not waited for.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	for _, field := range strings.Fields(read(t, pid, fmt.Sprintf("task/%d/children", pid))) {
		child, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, child)
	}
	return pids
}

// read is a file of a process.
func read(t *testing.T, pid int, file string) string {
	t.Helper()
	text, err := os.ReadFile(proc(pid, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// statField is a field behind the name, "" if the process is gone.
func statField(pid, number int) string {
	stat, err := os.ReadFile(proc(pid, "stat"))
	if err != nil {
		return ""
	}
	return strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))[number]
}

var server = regexp.MustCompile(`(?m)^generation (\d*) is (\d+)$`)

// server waits for a generation to start, and returns its process. A server that is
// started directly has no number.
func (s *site) server(generation string) (pid int) {
	s.t.Helper()
	s.told.await(s.t, "generation "+generation, func(text string) bool {
		for _, m := range server.FindAllStringSubmatch(text, -1) {
			if m[1] == generation {
				pid, _ = strconv.Atoi(m[2])
			}
		}
		return pid != 0
	})
	return pid
}

// awaitTold waits for lines of the servers.
func (s *site) awaitTold(line string, times int) {
	s.t.Helper()
	s.told.awaitText(s.t, line+"\n", times)
}

// allTold is what the servers told until now.
func (s *site) allTold() string {
	s.t.Helper()
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: filepath.Join(s.dir, "witness"), Net: "unixgram"})
	if err == nil {
		defer c.Close()
		_, err = c.Write([]byte(end)) // comes behind them
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.awaitTold(end, 1)
	return strings.TrimSuffix(s.told.String(), end+"\n")
}

const end = "that is all"

// awaitNothing waits until no process and no file of flipexec is left.
func (s *site) awaitNothing() {
	s.t.Helper()
	eventually(s.t, "the end of everything", func() bool { return len(s.processes()) == 0 })
	left := ""
	filepath.WalkDir(s.runtime(), func(path string, _ os.DirEntry, err error) error {
		left += path + "\n"
		return err
	})
	if left != s.runtime()+"\n" {
		s.t.Errorf("left behind: %s", left)
	}
}

// start runs flipexec with a server that is current when it returns.
func (s *site) start(args ...string) *front {
	s.t.Helper()
	f := s.begin(args...)
	f.out.awaitText(s.t, "generation 1 current", 1)
	return f
}

// A front is a foreground process.
type front struct {
	*exec.Cmd
	s    *site
	out  *record
	exit chan struct{} // closed at its end
}

// begin runs flipexec. Without arguments the server is a witness.
func (s *site) begin(args ...string) *front {
	s.t.Helper()
	if len(args) == 0 {
		args = []string{"flipexec", "--", "witness"}
	}
	cmd, out := s.command(args...)
	w := s.pipe(out)
	defer w.Close()
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true} // the terminal of the tests is not the site's
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	f := &front{Cmd: cmd, s: s, out: out, exit: make(chan struct{})}
	go func() {
		cmd.Wait() // ProcessState says it all
		close(f.exit)
	}()
	s.t.Cleanup(func() {
		cmd.Process.Kill()
		<-f.exit
		if s.t.Failed() {
			s.t.Logf("flipexec said:\n%s", out)
		}
	})
	return f
}

// pipe is for more processes than the one that is waited for.
func (s *site) pipe(out *record) (w *os.File) {
	s.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	go func() {
		io.Copy(out, r) // the end is as good as an error
		r.Close()
	}()
	return w
}

func (f *front) signal(sig unix.Signal) {
	f.s.t.Helper()
	if err := f.Process.Signal(sig); err != nil {
		f.s.t.Fatal(err)
	}
}

// wantExit waits for the end, with a status as a shell has it.
func (f *front) wantExit(want int) {
	f.s.t.Helper()
	select {
	case <-f.exit:
	case <-time.After(patience):
		f.s.t.Fatalf("flipexec has not left after %v; it said:\n%s", patience, f.out)
	}
	ws := f.ProcessState.Sys().(syscall.WaitStatus)
	got := ws.ExitStatus()
	if ws.Signaled() {
		got = -int(ws.Signal())
	}
	if got != want {
		f.s.t.Errorf("exit status: got %d, want %d", got, want)
	}
	f.s.awaitNothing()
}

// awaitIdle waits until no handoff is under way: the keeper and the server are all that
// flipexec has.
func (s *site) awaitIdle(f *front) {
	s.t.Helper()
	eventually(s.t, "flipexec has nothing to do", func() bool { return len(children(s.t, f.Process.Pid)) == 2 })
}

// reload runs flipexec reload to its end; again, if the handoff before has not quite
// come to its own.
func (s *site) reload(args ...string) (status int, output string) {
	for deadline := time.Now().Add(patience); ; {
		if status, output = s.ask(args...); status != 3 || time.Now().After(deadline) {
			return status, output
		}
	}
}

// ask is reload, once.
func (s *site) ask(args ...string) (status int, output string) {
	cmd, out := s.command(append([]string{"flipexec", "reload"}, args...)...)
	cmd.Run() // ProcessState says it all
	return cmd.ProcessState.ExitCode(), out.String()
}

// mustReload wants that to work.
func (s *site) mustReload(args ...string) {
	s.t.Helper()
	if status, out := s.reload(args...); status != 0 {
		s.t.Fatalf("flipexec reload: got status %d:\n%s", status, out)
	}
}
