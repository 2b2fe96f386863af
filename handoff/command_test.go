package handoff

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// put makes a file and the directories above it.
func put(t *testing.T, path string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandIsLookedUpAsAShellDoes(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	server := put(t, dir+"/bin/server", 0o755)
	put(t, dir+"/plain/server", 0o644)
	put(t, dir+"/plain/readme", 0o644)
	put(t, dir+"/here", 0o755)
	put(t, dir+"/other/bin/server", 0o755)
	path := "PATH=" + dir + "/missing:" + dir + "/here:" + dir + "/plain:" + dir + "/bin:" + dir + "/other/bin"
	for _, c := range []struct {
		name, command, path, want string
		code                      int
	}{
		{"absolute", server, "", server, 0},
		{"with a slash", "bin/server", path, "bin/server", 0},
		{"in PATH, behind one that is not executable", "server", path, server, 0},
		{"an empty entry is the working directory", "here", "PATH=" + dir + "/bin:", "./here", 0},
		{"not found", "nosuch", path, "", ExitNotFound},
		{"absolute, not found", dir + "/nosuch", path, dir + "/nosuch", ExitNotFound},
		{"below a file", server + "/x", path, server + "/x", ExitNotFound},
		{"empty", "", path, "", ExitNotFound},
		{"no PATH", "server", "", "", ExitNotFound},
		{"not executable", "readme", path, "", ExitCannotRun},
		{"absolute, not executable", dir + "/plain/readme", path, dir + "/plain/readme", ExitCannotRun},
		{"a directory", dir + "/bin", path, dir + "/bin", ExitCannotRun},
		{"a directory in PATH", "bin", "PATH=" + dir, "", ExitCannotRun},
	} {
		got, err := lookPath(c.command, []string{c.path})
		if got != c.want || ExitCode(err) != c.code {
			t.Errorf("%s: got %q, exit code %d (%v), want %q, %d", c.name, got, ExitCode(err), err, c.want, c.code)
		}
		if err != nil {
			checkError(t, c.name, err, `command "`+c.command+`": `)
		}
	}
}

func TestFailedExecHasTheExitCodeOfAShell(t *testing.T) {
	for errno, want := range map[error]int{nil: 0, unix.ENOENT: 127, unix.ENOTDIR: 127, unix.EACCES: 126, unix.ENOEXEC: 126, unix.E2BIG: 126} {
		if got := ExitCode(commandError("server", errno)); got != want {
			t.Errorf("%v: got %d, want %d", errno, got, want)
		}
	}
}
