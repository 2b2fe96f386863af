package pidfile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// role names, in the environment, what the test binary does when a test starts
// it again with a mount namespace of its own.
const role = "PIDFILE_TEST_ROLE"

// roles run with root's rights in a fresh tmpfs of one page and as many files
// as a test needs, which is the working directory.
var roles = map[string]func() error{
	"full":      roleFull,
	"no-inodes": roleNoInodes,
	"read-only": roleReadOnly,
	"denied":    roleDenied,
}

func TestMain(m *testing.M) {
	r := os.Getenv(role)
	if r == "" {
		os.Exit(m.Run())
	}
	if err := runRole(r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runRole(name string) error {
	run, ok := roles[name]
	if !ok {
		return fmt.Errorf("unknown role %q", name)
	}
	at := os.Args[1]
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, "size=4k,nr_inodes=4,mode=0755"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := os.Chdir(at); err != nil {
		return err
	}
	return run()
}

// inTmpfs runs a role. Without root it takes a user namespace as well.
func inTmpfs(t *testing.T, name string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", t.TempDir())
	cmd.Env = append(os.Environ(), role+"="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// newPath returns the path of a PID file that does not exist, and checks at
// the end that nothing else was left in its directory.
func newPath(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server.pid")
	t.Cleanup(func() {
		if err := onlyEntry(path); err != nil {
			t.Error(err)
		}
	})
	return path
}

// onlyEntry reports what lies beside path.
func onlyEntry(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	for _, e := range entries {
		if e.Name() != filepath.Base(path) {
			return fmt.Errorf("%s was left behind", e.Name())
		}
	}
	return err
}

func mustWrite(t *testing.T, path string, pid int) *File {
	t.Helper()
	f, err := Write(path, pid)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func put(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func checkContent(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v, want %q", path, got, err, want)
	}
}

func checkMissing(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("%s is there: %v", path, err)
	}
}
