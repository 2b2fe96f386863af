package activation

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// maxBacklog is cut down to sysctl net.core.somaxconn by listen(2), as systemd
// does with the default of Backlog=.
const maxBacklog = 1<<31 - 1

func bind(spec Spec) (Socket, error) {
	fd, sa, err := spec.open()
	if err != nil {
		return Socket{}, err
	}
	s := Socket{FD: fd, Name: spec.Name, Spec: spec.String()}
	if s.Name == "" {
		s.Name = Unnamed
	}
	if err := bindAddress(spec, fd, sa); err != nil {
		s.Close()
		return Socket{}, err
	}
	if path := spec.path(); path != "" {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			s.Close()
			return Socket{}, err
		}
		s.Dev, s.Ino = uint64(st.Dev), st.Ino
	}
	if networks[spec.Network] == unix.SOCK_DGRAM {
		return s, nil
	}
	if err := unix.Listen(fd, maxBacklog); err != nil {
		s.Unlink()
		s.Close()
		return Socket{}, err
	}
	return s, nil
}

// open makes the bare socket and the address it is to be bound to.
func (s Spec) open() (int, unix.Sockaddr, error) {
	typ := networks[s.Network] | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	sa, err := s.sockaddr()
	if err != nil {
		return -1, nil, err
	}
	fd, err := unix.Socket(family(sa), typ, 0)
	if err == unix.EAFNOSUPPORT && s.dualStack() {
		// No IPv6 here, or RestrictAddressFamilies= forbids it: IPv4
		// alone is then every address of the machine.
		sa = &unix.SockaddrInet4{Port: int(s.port)}
		fd, err = unix.Socket(unix.AF_INET, typ, 0)
	}
	if err != nil {
		return -1, nil, os.NewSyscallError("socket", err)
	}
	if err := s.setOptions(fd, sa); err != nil {
		unix.Close(fd)
		return -1, nil, err
	}
	return fd, sa, nil
}

func (s Spec) setOptions(fd int, sa unix.Sockaddr) error {
	if family(sa) == unix.AF_INET6 {
		only := 1 // tcp6 and udp6; a dual-stack socket needs the opposite whatever sysctl net.ipv6.bindv6only says
		if s.mixed() {
			only = 0
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return os.NewSyscallError("setsockopt IPV6_V6ONLY", err)
		}
	}
	if family(sa) != unix.AF_UNIX && networks[s.Network] == unix.SOCK_STREAM {
		// Connections of an earlier run in TIME_WAIT must not keep us
		// out. (For udp it would let two servers share an address.)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return os.NewSyscallError("setsockopt SO_REUSEADDR", err)
		}
	}
	return nil
}

func bindAddress(spec Spec, fd int, sa unix.Sockaddr) error {
	err := unix.Bind(fd, sa)
	path := spec.path()
	if err == unix.EADDRINUSE && path != "" {
		if err := removeStale(path, networks[spec.Network]); err != nil {
			return err
		}
		err = unix.Bind(fd, sa)
	}
	if err == unix.EACCES && path == "" && spec.port != 0 {
		return fmt.Errorf("%w; hint: a port below 1024 needs AmbientCapabilities=CAP_NET_BIND_SERVICE or a .socket unit", err)
	}
	return err
}

var (
	errInUse     = errors.New("another process listens here")
	errNoSocket  = errors.New("the file at this path is no socket and stays; hint: move it away or choose another path")
	errWasReused = errors.New("somebody else bound this path just now")
)

// removeStale unlinks the socket at path if nobody serves it any more: connect(2)
// to a unix socket that no process holds is refused. (So is one to a socket that
// is bound and does not listen yet; nobody can tell these two apart.)
func removeStale(path string, typ int) error {
	var before, now unix.Stat_t
	if err := unix.Lstat(path, &before); err != nil {
		return err
	}
	if before.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errNoSocket
	}
	fd, err := unix.Socket(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	// Any other outcome (a full queue, another type, no permission) means
	// that there is somebody, or may be.
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != unix.ECONNREFUSED {
		return errInUse
	}
	if err := unix.Lstat(path, &now); err != nil {
		return err
	}
	if now.Dev != before.Dev || now.Ino != before.Ino {
		return errWasReused
	}
	return unix.Unlink(path)
}

// sockaddr is the address to bind.
func (s Spec) sockaddr() (unix.Sockaddr, error) {
	switch {
	case s.unix():
		return &unix.SockaddrUnix{Name: s.Address}, nil
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
	}
	return unix.AF_UNIX
}
