package activation

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// sockaddr is the address to bind.
func (s Spec) sockaddr() (unix.Sockaddr, error) {
	switch {
	case s.unix():
		return &unix.SockaddrUnix{Name: s.Address}, nil
	case strings.HasPrefix(s.Network, "vsock"):
		return &unix.SockaddrVM{CID: s.cid, Port: s.port}, nil
	case s.Network == "netlink":
		return &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: s.groups}, nil
	case s.host.Is4(), !s.host.IsValid() && (s.Network == "tcp4" || s.Network == "udp4"):
		sa := &unix.SockaddrInet4{Port: int(s.port)}
		if s.host.IsValid() {
			sa.Addr = s.host.As4()
		}
		return sa, nil
	}
	sa := &unix.SockaddrInet6{Port: int(s.port)}
	if s.host.IsValid() {
		sa.Addr = s.host.As16()
	}
	var err error
	sa.ZoneId, err = zoneID(s.host)
	return sa, err
}

func (s Spec) dualStack() bool {
	return !s.host.IsValid() && s.mixed()
}

// zoneID is the index of the interface that host names after "%".
func zoneID(host netip.Addr) (uint32, error) {
	zone := host.Zone()
	if zone == "" {
		return 0, nil
	}
	ifr, err := unix.NewIfreq(zone)
	if err != nil {
		return 0, fmt.Errorf("interface %q: %w", zone, err)
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, fmt.Errorf("interface %q: %w", zone, err)
	}
	return ifr.Uint32(), nil
}

func family(sa unix.Sockaddr) int {
	switch sa.(type) {
	case *unix.SockaddrInet4:
		return unix.AF_INET
	case *unix.SockaddrInet6:
		return unix.AF_INET6
	case *unix.SockaddrVM:
		return unix.AF_VSOCK
	case *unix.SockaddrNetlink:
		return unix.AF_NETLINK
	}
	return unix.AF_UNIX
}

// protocol is the last argument of socket(2), 0 for the usual one.
func (s Spec) protocol() int {
	if s.Network == "netlink" {
		return s.endpoint.family
	}
	v, _ := s.given("protocol")
	return v.n
}

// mixed reports whether the network takes IPv4 and IPv6 on one socket.
func (s Spec) mixed() bool {
	only, _ := s.given("v6only")
	return (s.Network == "tcp" || s.Network == "udp") && only.n == 0
}
