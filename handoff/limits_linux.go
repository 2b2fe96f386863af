package handoff

import (
	"errors"
	"fmt"
	"os"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

const (
	// ownDescriptors is about what a process of ours has beside sockets, and spareDescriptors
	// is more than that.
	ownDescriptors, spareDescriptors = 16, 32

	// fewDescriptors fit into the table of every process, and manyDescriptors come with
	// so much text that garbage matters.
	fewDescriptors, manyDescriptors = 64, 256
)

// makeRoom makes sure that this process can hold so many descriptors beside its own,
// before it opens the first of them. The kernel doubles the table when it is full, and
// waits each time, as long as there are threads, until no processor looks at the former
// one. That takes 10 to 30 ms, so that once is enough.
func makeRoom(n int) error {
	fd, err := holdRoom(n)
	if fd >= 0 {
		unix.Close(fd)
	}
	return err
}

// holdRoom is makeRoom that leaves a descriptor open at the end of the table: who is
// cloned meanwhile inherits a table of that size. It is the caller's, and -1 if there is
// room in any case.
func holdRoom(n int) (int, error) {
	if err := checkLimit(n); err != nil {
		return -1, err
	}
	if n < fewDescriptors {
		return -1, nil
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("eventfd", err)
	}
	defer unix.Close(event)
	fd, err := unix.FcntlInt(uintptr(event), unix.F_DUPFD_CLOEXEC, n+ownDescriptors-1)
	if err != nil {
		return -1, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	return fd, nil
}

// checkLimit makes sure that a process may have so many descriptors beside its own.
func checkLimit(n int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	if most := n + spareDescriptors; uint64(most) > limit.Cur {
		return fmt.Errorf("%d descriptors do not fit into RLIMIT_NOFILE, which is %d; hint: LimitNOFILE=%d or more in the unit", n, limit.Cur, most)
	}
	return nil
}

// withLimitHint tells how to mend that there are no more descriptors.
func withLimitHint(err error) error {
	if errors.Is(err, unix.EMFILE) {
		return fmt.Errorf("%w; hint: LimitNOFILE= in the unit", err)
	}
	return err
}

// checkNamesFit makes sure that LISTEN_FDNAMES does not become longer than execve(2)
// takes, which would not say which variable it was: MAX_ARG_STRLEN, with the closing NUL.
func checkNamesFit(names []string) error {
	size := 0
	for _, name := range names {
		size += nameSize(name)
	}
	return checkNamesSize(size, len(names))
}

// nameSize counts a colon behind the name, or the NUL.
func nameSize(name string) int { return len(name) + 1 }

func checkNamesSize(size, count int) error {
	if size += len(activation.EnvNames + "="); size > maxVariable {
		return fmt.Errorf("%s would have %d bytes for %d descriptors, and the kernel takes %d; hint: shorter names", activation.EnvNames, size, count, maxVariable)
	}
	return nil
}

// maxVariable is what execve(2) takes for one variable with its NUL, MAX_ARG_STRLEN.
var maxVariable = 32 * os.Getpagesize()

// passedLimit is the soft RLIMIT_NOFILE of the program that this process becomes. The
// runtime has raised our own when it started; it puts the former one back for execve(2),
// also for one that fails, and tells of it in no other way.
func passedLimit() uint64 {
	unix.Exec("", nil, nil)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return unix.RLIM_INFINITY
	}
	return limit.Cur
}

// limitHint is for a server that fails and has reached its soft limit with its sockets:
// not even the loader of its libraries can open anything then. Only a program that needs
// none, and raises the limit itself, can work so.
func limitHint(limit string, sockets int) string {
	return fmt.Sprintf("; hint: its RLIMIT_NOFILE of %s leaves no descriptor beside %d sockets, LimitNOFILE= in the unit", limit, sockets)
}
