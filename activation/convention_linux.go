package activation

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// claim makes a descriptor ours that a variable names.
func (s Socket) claim() error {
	if !passed(s.FD) {
		return errors.New("was not passed")
	}
	if _, err := unix.GetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return errors.New("is no socket")
	}
	unix.CloseOnExec(s.FD)
	return nil
}

// bound reports where a socket is bound to, if conventions have a word for that: they
// know IP addresses and paths.
func (s Socket) bound() (b bound, ok bool) {
	typ, err := unix.GetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || typ != unix.SOCK_STREAM && typ != unix.SOCK_DGRAM {
		return b, false
	}
	b.datagram = typ == unix.SOCK_DGRAM
	sa, err := unix.Getsockname(s.FD)
	if err != nil {
		return b, false
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		b.address = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		b.address = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrUnix:
		b.address, b.unix = sa.Name, true
		return b, sa.Name != "" && sa.Name[0] == '/'
	default:
		return b, false
	}
	return b, true
}
