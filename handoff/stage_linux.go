package handoff

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"
)

// stageRole is argv[0] of a stage: the process that is going to be the server.
const stageRole = "flipexec-stage"

// startStage starts the stage for the command in path. The server finds files from
// descriptor 0 on, and nothing else. The returned socket is the caller's: the
// stage waits until something is written to it, so that no server runs of which
// nobody but its keeper knows, and gives up at its end. What it then has to tell is
// in lines KEY=NUMBER, which end once the server is executed: errno if that failed, and
// limit, its soft RLIMIT_NOFILE, if its sockets alone reach it.
func startStage(path string, command, env []string, files []int, o Options) (process, int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return process{}, -1, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[1])
	argv := append([]string{stageRole, strconv.Itoa(len(files)), strconv.FormatBool(o.IgnoreSIGPIPE), path}, command...)
	p, err := spawn(argv, env, append(files, pair[1]), o.Detach)
	if err != nil {
		unix.Close(pair[0])
		return process{}, -1, err
	}
	return p, pair[0], nil
}

// letGo lets the stage at fd become the server.
func letGo(fd int) error {
	err := ignoringEINTR(func() error { return unix.Sendto(fd, []byte{'\n'}, unix.MSG_NOSIGNAL, nil) })
	return os.NewSyscallError("send", err)
}

// runStage becomes the server.
func runStage(args []string) {
	keeper, err := strconv.Atoi(args[1])
	if err == nil {
		unix.CloseOnExec(keeper)
		awaitGo(keeper)
		reached("stage may go")
		if limit := passedLimit(); limit <= uint64(keeper) {
			tellKeeper(keeper, stageLimit, limit)
		}
		err = become(args[3], args[4:], os.Environ(), args[2] == "true")
	}
	errno, ok := err.(unix.Errno)
	if !ok {
		errno = unix.EINVAL
	}
	tellKeeper(keeper, stageErrno, uint64(errno))
	os.Exit(ExitCannotRun)
}

const (
	stageErrno = "errno"
	stageLimit = "limit"
)

func tellKeeper(fd int, key string, n uint64) {
	unix.Write(fd, fmt.Appendf(nil, "%s=%d\n", key, n)) // best effort: the keeper sees the exit as well
}

// awaitGo leaves if the keeper dies before it lets us go.
func awaitGo(keeper int) {
	var b [1]byte
	n := 0
	err := ignoringEINTR(func() (err error) {
		n, err = unix.Read(keeper, b[:])
		return err
	})
	if err != nil || n == 0 {
		os.Exit(ExitFailed)
	}
}

// become executes path in this process and returns only on error. What is left to
// do, so that the server is as if the manager had started it, is its own process
// ID in the variables that name one, and SIGPIPE: the runtime resets every signal
// that it handles, and the soft RLIMIT_NOFILE that it raised, when it executes a
// program; descriptors, session and limits came with clone(2).
func become(path string, argv, env []string, ignoreSIGPIPE bool) error {
	fillInPID(env, unix.Getpid())
	if inBackground() {
		signal.Ignore(unix.SIGQUIT)
	}
	if ignoreSIGPIPE {
		// By hand, because an inherited "ignore" is lost and cannot
		// be seen: the runtime put its own handler in its place.
		signal.Ignore(unix.SIGPIPE)
	}
	return unix.Exec(path, argv, env)
}
