// Package pidfile keeps one PID file: replaced in one step, put back when the
// step turns out to be wrong, and removed only while it names the same process.
//
// A reader, such as systemd under PIDFile= of systemd.service(5), sees the old
// file or the new one, and never an empty or partial file. A symbolic link at
// the path is replaced and never followed; links in the directory's own path
// are followed as usual.
//
// A PID file is no lock. Whoever may start two handoffs at once has to keep
// them apart by other means: between a look at the content and the change that
// follows it, somebody else may write. Relative paths are taken from the
// working directory of each call.
//
// On systems other than Linux every function is an error that wraps
// [errors.ErrUnsupported].
package pidfile

import (
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
)

// maxLine is how much of a file [Read] looks at: more than any PID needs, so
// that a longer line is seen to be none.
const maxLine = 32

// Check reports whether [Write] could replace path, without changing anything:
// the directory exists and we may create files in it, and path is missing, a
// symbolic link, or a regular file that Write could put back. It is for the
// time before anything is started. A full disk cannot be seen beforehand.
// Errors name path and wrap the cause, such as EROFS or [fs.ErrPermission].
func Check(path string) error { return pathError("check", path, check(path)) }

// Read returns the PID in the first line of the regular file at path. The line
// is a decimal number as strconv.Itoa prints it, greater than zero, with
// nothing around it; lines after it are ignored. A symbolic link, or anything
// else that is no regular file, is an error. Read does not block on a FIFO.
func Read(path string) (int, error) {
	pid, err := read(path)
	return pid, pathError("read", path, err)
}

// parse is strict because a PID that was guessed is signalled later. Bytes of
// a line that was cut off at maxLine are no number that fits.
func parse(b []byte) (int, error) {
	line, _, _ := strings.Cut(string(b), "\n")
	n, err := strconv.ParseInt(line, 10, 32)
	if err != nil || n <= 0 || strconv.FormatInt(n, 10) != line {
		return 0, fmt.Errorf("%q is not a PID", line)
	}
	return int(n), nil
}

// format is what parse takes.
func format(pid int) ([]byte, error) {
	if pid <= 0 || pid > math.MaxInt32 {
		return nil, fmt.Errorf("%d is not a PID", pid)
	}
	return append(strconv.AppendInt(nil, int64(pid), 10), '\n'), nil
}

// Remove removes path if it still holds pid, as [Read] understands it. A file
// that is missing, or holds anything else, is left alone without an error: it
// is somebody else's, or gone already.
func Remove(path string, pid int) error { return pathError("remove", path, remove(path, pid)) }

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}
