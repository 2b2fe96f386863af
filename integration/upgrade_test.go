//go:build linux

package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
	"golang.org/x/sys/unix"
)

// TestNewFlipexecDoesTheHandoff: the process in front stays what it is, and whatever it
// starts is the version on disk, as with systemd.
func TestNewFlipexecDoesTheHandoff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "flipexec")
	copyProgram(t, program)
	front := exec.Command(program, "--listen", "unix:"+filepath.Join(dir, "web.sock"), "--pid-file", filepath.Join(dir, "pid"), "--", filepath.Join(programs, "gohttp"))
	front.Env = append(os.Environ(), "FLIPEXEC_RUNTIME_DIRECTORY="+dir)
	var output bytes.Buffer
	front.Stdout, front.Stderr = &output, &output
	if err := front.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		front.Process.Signal(unix.SIGTERM)
		if err := front.Wait(); err != nil {
			t.Errorf("%v\n%s", err, &output)
		}
	}()
	rig.WaitFor(t, "the server is ready", 20*time.Second, func() bool {
		_, err := os.Stat(filepath.Join(dir, "pid"))
		return err == nil
	})
	copyProgram(t, program)
	rig.WaitFor(t, "the first generation is current, and can be replaced", 20*time.Second, func() bool {
		reload := exec.Command(program, "reload")
		reload.Env = front.Env
		out, err := reload.CombinedOutput()
		if err != nil && reload.ProcessState.ExitCode() != 3 {
			t.Fatalf("%v: %s", err, out)
		}
		return err == nil
	})
	now := inode(t, program)
	for _, keeper := range children(t, front.Process.Pid, "flipexec-keeper\x002\x00") {
		if got := inode(t, "/proc/"+keeper+"/exe"); got == now {
			return
		}
	}
	t.Errorf("no keeper of generation 2 runs the new program")
}

// children are those of a process whose command line begins so.
func children(t *testing.T, parent int, line string) (pids []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		status, err := os.ReadFile("/proc/" + e.Name() + "/status")
		if err != nil || !strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", parent)) {
			continue // it has gone, or is another's
		}
		if b, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && strings.HasPrefix(string(b), line) {
			pids = append(pids, e.Name())
		}
	}
	return pids
}

// copyProgram puts a new flipexec where the old one was. A process of its own writes it:
// ours may be forked meanwhile, and a file that somebody can write cannot be executed.
func copyProgram(t *testing.T, path string) {
	t.Helper()
	out, err := exec.Command("cp", filepath.Join(programs, "flipexec"), path+".new").CombinedOutput()
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}
