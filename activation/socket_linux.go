package activation

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// sameKind reports whether the descriptor is of spec's network.
func (s Spec) sameKind(fd int) bool {
	if networks[s.Network] == 0 {
		return s.sameFileType(fd)
	}
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || typ != networks[s.Network] {
		return false
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return false
	}
	switch s.Network {
	case "tcp", "udp":
		return (domain == unix.AF_INET || domain == unix.AF_INET6) && s.samePorts(fd)
	case "tcp4", "udp4":
		return domain == unix.AF_INET && s.samePorts(fd)
	case "tcp6", "udp6":
		return domain == unix.AF_INET6 && s.samePorts(fd)
	case "vsock", "vsockgram":
		return domain == unix.AF_VSOCK
	case "netlink":
		protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		return err == nil && domain == unix.AF_NETLINK && protocol == s.endpoint.family
	}
	return domain == unix.AF_UNIX
}

// samePorts reports whether the protocol of an IP socket is spec's, or shares its
// port numbers: those of SCTP and UDP-Lite are their own, and MPTCP has TCP's.
func (s Spec) samePorts(fd int) bool {
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	want := s.protocol()
	if want == 0 || want == unix.IPPROTO_MPTCP {
		want = unix.IPPROTO_TCP
		if networks[s.Network] == unix.SOCK_DGRAM {
			want = unix.IPPROTO_UDP
		}
	}
	if protocol == unix.IPPROTO_MPTCP {
		protocol = unix.IPPROTO_TCP
	}
	return err == nil && protocol == want
}

// addressKey is the same for a spec and for every socket that may be of its address;
// sameAddress looks more closely. Port 0 is never the same: it asks for a port of its
// own.
func (s Spec) addressKey() string {
	switch {
	case networks[s.Network] == 0:
		return fileKey
	case s.anyPort():
		return ""
	}
	sa, err := s.sockaddr()
	if err != nil { // of an interface that is gone
		return ""
	}
	return addressKey(sa)
}

func (s Socket) addressKey() string {
	sa, err := unix.Getsockname(s.FD)
	if err == unix.ENOTSOCK {
		return fileKey
	}
	if err != nil {
		return "" // another namespace's oddity is not our socket
	}
	return addressKey(sa)
}

const fileKey = "file"

func addressKey(sa unix.Sockaddr) string {
	switch sa := sa.(type) {
	case *unix.SockaddrUnix:
		return "unix " + sa.Name
	case *unix.SockaddrVM:
		return fmt.Sprintf("vsock %d:%d", sa.CID, sa.Port)
	case *unix.SockaddrNetlink:
		return fmt.Sprintf("netlink %d", sa.Groups)
	}
	r := reachOf(sa, false)
	if r.addr.IsUnspecified() { // IPv4 alone may stand for both
		return fmt.Sprintf("ip %d", r.port)
	}
	return fmt.Sprintf("ip %d %s", r.port, r.addr)
}

// sameAddress reports whether a socket of the same kind is bound to spec's
// address. Port 0 is never the same: it asks for a port of its own.
func (s Spec) sameAddress(fd int) (bool, error) {
	if networks[s.Network] == 0 {
		return s.sameFile(fd), nil
	}
	want, err := s.sockaddr()
	if err != nil {
		return false, fmt.Errorf("listen %s: %w", s, err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return false, nil // another namespace's oddity is not our socket
	}
	if s.anyPort() {
		return false, nil
	}
	switch b := bound.(type) {
	case *unix.SockaddrUnix:
		return s.Address == b.Name, nil
	case *unix.SockaddrVM:
		return s.cid == b.CID && s.port == b.Port, nil
	case *unix.SockaddrNetlink:
		return s.groups == b.Groups, nil
	case *unix.SockaddrInet4:
		w, ok := want.(*unix.SockaddrInet4)
		if !ok && s.dualStack() { // bound where there was no IPv6
			return b.Port == int(s.port) && b.Addr == [4]byte{} && !haveIPv6(), nil
		}
		return ok && w.Port == b.Port && w.Addr == b.Addr, nil
	case *unix.SockaddrInet6:
		w, ok := want.(*unix.SockaddrInet6)
		if !ok || w.Port != b.Port || w.Addr != b.Addr || w.ZoneId != b.ZoneId {
			return false, nil
		}
		only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		return err == nil && (w.Addr != [16]byte{} || only == 0 == s.mixed()), nil
	}
	return false, nil
}

// anyPort reports whether the kernel is to choose the port.
func (s Spec) anyPort() bool {
	switch s.Network {
	case "unix", "unixgram", "unixpacket", "netlink":
		return false
	case "vsock", "vsockgram":
		return s.port == anyVsock
	}
	return s.port == 0
}

func haveIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// checkListens refuses what does not accept connections.
func (s Socket) checkListens() error {
	accepts, err := unix.GetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_ACCEPTCONN", err)
	}
	if accepts == 0 {
		return errors.New("does not listen")
	}
	return nil
}

// checkDatagram refuses what has connections.
func (s Socket) checkDatagram() error {
	typ, err := unix.GetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_TYPE", err)
	}
	if typ == unix.SOCK_STREAM || typ == unix.SOCK_SEQPACKET {
		return errors.New("is no datagram socket")
	}
	return nil
}

// file is a duplicate of the descriptor, the caller's to close.
func (s Socket) file() (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, FirstFD)
	if err != nil {
		return nil, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	return os.NewFile(uintptr(fd), s.Name), nil
}

func (s Socket) close() {
	unix.Close(s.FD) // best effort: nothing to be done about an error
}

// lostPath reports whether the path of a unix socket that Bind made leads nowhere,
// or to another file. With a spare name it is not lost: another process is about to put
// it back, or we do.
func (s Socket) lostPath() bool {
	path := s.path()
	if path == "" {
		return false
	}
	var st unix.Stat_t
	switch err := unix.Lstat(path, &st); err {
	case nil:
		return !s.isFile(st)
	case unix.ENOENT:
		_, err := Spare{s, path, spareName(path, s.Ino)}.putBack()
		return err != nil
	default:
		return err == unix.ENOTDIR
	}
}

// isAt reports whether the file that Bind made has that name.
func (s Socket) isAt(name string) bool {
	var st unix.Stat_t
	return unix.Lstat(name, &st) == nil && s.isFile(st)
}

// isFile reports whether it is the file that Bind made.
func (s Socket) isFile(st unix.Stat_t) bool { return uint64(st.Dev) == s.Dev && st.Ino == s.Ino }

// unlink takes the spare name first: while that is there, another process may put the
// path back.
func (s Socket) unlink() {
	path := s.path()
	if path == "" {
		return
	}
	for _, name := range []string{spareName(path, s.Ino), path} {
		if s.isAt(name) {
			unix.Unlink(name) // best effort: a stale socket is replaced at the next start
		}
	}
}
