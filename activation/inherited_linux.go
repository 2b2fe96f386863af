package activation

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// pidfs is the magic number of the file system that gives pidfds unique inode
// numbers (Linux 6.9); before, all pidfds share one anonymous inode.
const pidfs = 0x50494446

func inherited(lookup func(string) (string, bool)) ([]Socket, error) {
	o, err := parseOffer(lookup)
	if err != nil || o.pid != unix.Getpid() {
		return nil, err
	}
	if o.pidfdid != 0 {
		own, err := ownPIDFDID()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", EnvPIDFDID, err)
		}
		if own != 0 && own != o.pidfdid {
			return nil, nil
		}
	}
	sockets := make([]Socket, len(o.names))
	for i, name := range o.names {
		fd := FirstFD + i
		if !passed(fd) {
			return nil, fmt.Errorf("%s=%d: descriptor %d was not passed", EnvFDs, len(o.names), fd)
		}
		sockets[i] = Socket{FD: fd, Name: name}
	}
	for _, s := range sockets {
		unix.CloseOnExec(s.FD)
	}
	return sockets, nil
}

// passed reports whether a descriptor came through execve(2): then it cannot be
// close-on-exec, as one is that this process has opened since.
func passed(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}

// ownPIDFDID is the inode number of this process's pidfd, 0 where pidfds have
// none of their own.
func ownPIDFDID() (uint64, error) {
	fd, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return 0, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	return pidfdid(fd)
}

func pidfdid(pidfd int) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(pidfd, &fs); err != nil {
		return 0, os.NewSyscallError("fstatfs", err)
	}
	if fs.Type != pidfs {
		return 0, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(pidfd, &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	return st.Ino, nil
}
