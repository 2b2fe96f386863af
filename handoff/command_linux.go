package handoff

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lookPath finds the file for a command as execvp(3) does: a name without slash
// is searched in PATH, afresh at every start. A file that is there but cannot be
// executed is ExitCannotRun, as in a shell.
func lookPath(name string, env []string) (string, error) {
	if name == "" {
		return "", commandError(name, unix.ENOENT)
	}
	if strings.Contains(name, "/") {
		return name, commandError(name, executable(name))
	}
	err := error(unix.ENOENT)
	for _, dir := range filepath.SplitList(value(env, "PATH")) {
		path := filepath.Join(dir, name)
		if dir == "" {
			path = "./" + name
		}
		switch e := executable(path); e {
		case nil:
			return path, nil
		case unix.ENOENT, unix.ENOTDIR:
		default:
			err = e
		}
	}
	return "", commandError(name, err)
}

func executable(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
}

// commandError gives the reason why a command does not run its exit code.
func commandError(name string, err error) error {
	switch err {
	case nil:
		return nil
	case unix.ENOENT, unix.ENOTDIR:
		return &Error{ExitNotFound, fmt.Errorf("command %q: not found", name)}
	}
	return &Error{ExitCannotRun, fmt.Errorf("command %q: %w", name, err)}
}

// execError is commandError for a file that was found before it was executed:
// what is not found by then is the interpreter that the file names, execve(2).
func execError(name string, err error) error {
	if err == unix.ENOENT {
		return &Error{ExitCannotRun, fmt.Errorf("command %q: the interpreter that it names is not found", name)}
	}
	return commandError(name, err)
}
