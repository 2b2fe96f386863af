package handoff

import (
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"
)

// stageRole is argv[0] of a stage: the process that is going to be the server.
const stageRole = "flipexec-stage"

// startStage starts the stage for the command in path. The server finds files from
// descriptor 0 on, and nothing else. The returned descriptor is the caller's: it
// reads as end of file once the server is executed, and else as the errno in
// decimal.
func startStage(path string, command, env []string, files []int, o Options) (process, int, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return process{}, -1, os.NewSyscallError("pipe2", err)
	}
	defer unix.Close(pipe[1])
	argv := append([]string{stageRole, strconv.Itoa(len(files)), strconv.FormatBool(o.IgnoreSIGPIPE), path}, command...)
	p, err := spawn(argv, env, append(files, pipe[1]))
	if err != nil {
		unix.Close(pipe[0])
		return process{}, -1, err
	}
	return p, pipe[0], nil
}

// runStage becomes the server.
func runStage(args []string) {
	report, err := strconv.Atoi(args[1])
	if err == nil {
		unix.CloseOnExec(report)
		err = become(args[3], args[4:], os.Environ(), args[2] == "true")
	}
	errno, ok := err.(unix.Errno)
	if !ok {
		errno = unix.EINVAL
	}
	unix.Write(report, strconv.AppendInt(nil, int64(errno), 10)) // best effort: the keeper sees the exit as well
	os.Exit(ExitCannotRun)
}

// become executes path in this process and returns only on error. What is left to
// do, so that the server is as if the manager had started it, is its own process
// ID in the variables that name one, and SIGPIPE: the runtime resets every signal
// that it handles, and the soft RLIMIT_NOFILE that it raised, when it executes a
// program; descriptors, session and limits came with clone(2).
func become(path string, argv, env []string, ignoreSIGPIPE bool) error {
	fillInPID(env, unix.Getpid())
	if ignoreSIGPIPE {
		// By hand, because an inherited "ignore" is lost and cannot
		// be seen: the runtime put its own handler in its place.
		signal.Ignore(unix.SIGPIPE)
	}
	return unix.Exec(path, argv, env)
}
