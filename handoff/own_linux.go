package handoff

import (
	"fmt"
	"os"
	"slices"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// A fileID tells most files apart without kcmp(2): what is one open file description has one.
type fileID struct {
	dev, ino uint64
	kind     uint32 // S_IFMT, 0 for an eventfd and the like
}

func newDescriptor(fd int, name string, poll bool) descriptor {
	return descriptor{fd, name, poll, fileOf(fd)}
}

func fileOf(fd int) fileID {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil { // which cannot fail for what is open
		return fileID{}
	}
	return fileID{uint64(st.Dev), st.Ino, st.Mode & unix.S_IFMT}
}

// addOwn holds a duplicate of the descriptor, unless the next generation gets it in any
// case. Nor does it hold more than that could be given.
func (k *keeper) addOwn(d descriptor) error {
	if slices.ContainsFunc(k.Own, d.is) || slices.ContainsFunc(k.Sockets, func(s activation.Socket) bool {
		return s.Spec == "" && d.is(newDescriptor(s.FD, s.Name, false))
	}) {
		return nil
	}
	if err := k.checkRoom(d.name); err != nil {
		return err
	}
	fd, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("fcntl F_DUPFD_CLOEXEC: %w", err)
	}
	d.fd = fd
	k.Own = append(k.Own, d)
	return nil
}

// checkRoom makes sure that one more descriptor leaves the next generation possible.
func (e estate) checkRoom(name string) error {
	size, count := nameSize(name), len(e.Sockets)+len(e.Own)+1
	for _, s := range e.Sockets {
		size += nameSize(s.Name)
	}
	for _, d := range e.Own {
		size += nameSize(d.name)
	}
	if err := checkNamesSize(size, count); err != nil {
		return err
	}
	return checkLimit(count)
}

// is reports whether two descriptors share an open file description. Where kcmp(2) is
// missing or forbidden, a socket has but one, and of another file there are as many as
// there are names.
func (d descriptor) is(other descriptor) bool {
	const kcmpFile = 0 // KCMP_FILE of linux/kcmp.h
	if d.file != other.file {
		return false
	}
	pid := uintptr(os.Getpid())
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, kcmpFile, uintptr(d.fd), uintptr(other.fd), 0)
	if errno != 0 {
		return d.file.kind == unix.S_IFSOCK || d.name == other.name
	}
	return order == 0
}

// dropHungUp lets go of the descriptors whose other end is closed, however many.
func (k *keeper) dropHungUp() {
	fds := make([]unix.PollFd, len(k.Own))
	for i, d := range k.Own {
		fds[i].Fd = int32(d.fd)
		if !d.poll {
			fds[i].Fd = -1
		}
	}
	unix.Poll(fds, 0) // best effort: what has hung up wakes us again
	hungUp := map[int32]bool{}
	for _, fd := range fds {
		hungUp[fd.Fd] = fd.Revents != 0
	}
	k.dropOwn(func(d descriptor) bool { return hungUp[int32(d.fd)] })
}

// close does not wait, although it may be the last: SO_LINGER= is the server's business, and
// so is a file on a server that does not answer.
func (d descriptor) close() {
	linger, err := unix.GetsockoptLinger(d.fd, unix.SOL_SOCKET, unix.SO_LINGER)
	if err == nil && linger.Onoff != 0 && linger.Linger > 0 || d.file.kind == unix.S_IFREG {
		go unix.Close(d.fd)
		return
	}
	unix.Close(d.fd)
}

// isNameless reports whether a descriptor is of a file that no path leads to, as that of
// memfd_create(2) or eventfd(2): .socket units have no such.
func isNameless(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	kind := st.Mode & unix.S_IFMT
	return kind == 0 || kind == unix.S_IFREG && st.Nlink == 0
}

// ownConnections are those of the inherited descriptors that no .socket unit makes, but a
// server of an earlier run: systemd has kept them. The rest are sockets.
func ownConnections(inherited []activation.Socket) (sockets []activation.Socket, own []descriptor) {
	for _, s := range inherited {
		if s.Spec == "" && isConnection(s.FD) {
			own = append(own, newDescriptor(s.FD, s.Name, true))
		} else {
			sockets = append(sockets, s)
		}
	}
	return sockets, own
}

// isConnection asks for the kind as well: a netlink socket has a peer at all times.
func isConnection(fd int) bool {
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || typ != unix.SOCK_STREAM && typ != unix.SOCK_SEQPACKET {
		return false
	}
	_, err = unix.Getpeername(fd)
	return err == nil
}
