package handoff

import (
	"fmt"
	"os"
	"slices"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// addOwn holds a duplicate of the descriptor, unless it is there already.
func (k *keeper) addOwn(d descriptor) error {
	if slices.ContainsFunc(k.Own, func(o descriptor) bool { return sameDescription(o.fd, d.fd) }) {
		return nil
	}
	fd, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("fcntl F_DUPFD_CLOEXEC: %w", err)
	}
	d.fd = fd
	k.Own = append(k.Own, d)
	return nil
}

// sameDescription reports whether two descriptors share an open file description. Where
// kcmp(2) is missing or forbidden, none do.
func sameDescription(a, b int) bool {
	const kcmpFile = 0 // KCMP_FILE of linux/kcmp.h
	pid := uintptr(os.Getpid())
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, kcmpFile, uintptr(a), uintptr(b), 0)
	return errno == 0 && order == 0
}

// ownConnections are those of the inherited descriptors that no .socket unit makes, but a
// server of an earlier run: systemd has kept them. The rest are sockets.
func ownConnections(inherited []activation.Socket) (sockets []activation.Socket, own []descriptor) {
	for _, s := range inherited {
		if _, err := unix.Getpeername(s.FD); err == nil {
			own = append(own, descriptor{s.FD, s.Name, true})
		} else {
			sockets = append(sockets, s)
		}
	}
	return sockets, own
}
