package activation

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxBacklog is cut down to sysctl net.core.somaxconn by listen(2), as systemd
// does with the default of Backlog=.
const maxBacklog = 1<<31 - 1

func bind(spec Spec, leaving leavingSockets) (Socket, error) {
	s := Socket{FD: -1, Name: spec.Name, Spec: spec.String()}
	if s.Name == "" {
		s.Name = Unnamed
	}
	if err := spec.makeDirectories(); err != nil {
		return Socket{}, err
	}
	switch spec.Network {
	case "fifo":
		return bindFIFO(spec, s)
	case "special":
		return openSpecial(spec, s)
	}
	return bindSocket(spec, s, leaving)
}

func bindSocket(spec Spec, s Socket, leaving leavingSockets) (_ Socket, err error) {
	fd, sa, err := spec.open()
	if err != nil {
		return Socket{}, err
	}
	s.FD = fd
	defer func() {
		if err != nil {
			s.Unlink()
			s.Close()
		}
	}()
	if spec.path() != "" {
		if err := spec.shut(fd); err != nil {
			return Socket{}, err
		}
	}
	room, err := spec.makeRoom(s, sa, leaving)
	if err != nil {
		return Socket{}, err
	}
	defer room.close()
	if err := bindAddress(spec, fd, sa); err != nil {
		return Socket{}, err
	}
	if spec.path() != "" {
		if err := s.identify(spec.path()); err != nil {
			return Socket{}, err
		}
	}
	if err := spec.setFileOptions(s); err != nil {
		return Socket{}, err
	}
	if !spec.listens() {
		return s, nil
	}
	return s, unix.Listen(fd, spec.backlog().n)
}

// backlog is the length of the queue that listen(2) is asked for.
func (s Spec) backlog() value {
	if v, ok := s.given("backlog"); ok {
		return v
	}
	return value{n: maxBacklog}
}

// shut makes the socket's file one for our own user alone, for as long as its owner
// and mode are not right: a datagram socket takes messages as soon as it is bound, and
// bind(2) makes the file by the mode of the socket's inode and the umask. (With no mode
// at all, our user could not tell that it is stale if we die here.)
//
// It would be nicer to bind at another name and rename(2) the finished socket into
// place. But getsockname(2) says the other name from then on, and servers look for
// the socket of their configuration by that.
func (s Spec) shut(fd int) error {
	if _, ok := s.given("mode"); !ok {
		return nil
	}
	return os.NewSyscallError("fchmod", unix.Fchmod(fd, 0o600))
}

// identify remembers the file that was made at the path.
func (s *Socket) identify(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	s.Dev, s.Ino = uint64(st.Dev), st.Ino
	return nil
}

// open makes the bare socket, with all options that come before bind(2), and the
// address it is to be bound to.
func (s Spec) open() (int, unix.Sockaddr, error) {
	typ := networks[s.Network] | unix.SOCK_CLOEXEC
	if v, ok := s.given("nonblocking"); !ok || v.n != 0 {
		typ |= unix.SOCK_NONBLOCK
	}
	sa, err := s.sockaddr()
	if err != nil {
		return -1, nil, err
	}
	fd, err := unix.Socket(family(sa), typ, s.protocol())
	if err == unix.EAFNOSUPPORT && s.dualStack() {
		// No IPv6 here, or RestrictAddressFamilies= forbids it: IPv4
		// alone is then every address of the machine.
		sa = &unix.SockaddrInet4{Port: int(s.port)}
		fd, err = unix.Socket(unix.AF_INET, typ, s.protocol())
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
	if f := family(sa); (f == unix.AF_INET || f == unix.AF_INET6) && networks[s.Network] == unix.SOCK_STREAM {
		// Connections of an earlier run in TIME_WAIT must not keep us
		// out. (For udp it would let two servers share an address.)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return os.NewSyscallError("setsockopt SO_REUSEADDR", err)
		}
	}
	return s.setEarly(Socket{FD: fd})
}

// setEarly sets the options that come before bind(2).
func (s Spec) setEarly(sock Socket) error {
	settings := s.settings()
	for i := range options { // in the order of the table
		for _, set := range settings {
			if set.option != &options[i] || set.when != beforeBind {
				continue
			}
			if err := set.put(sock, set.value); err != nil {
				return optionError(set.option, err)
			}
		}
	}
	return nil
}

func optionError(o *option, err error) error {
	hint := ""
	switch {
	case err != unix.EPERM:
	case o.when == beforeBind:
		hint = "; hint: AmbientCapabilities=CAP_NET_ADMIN, or a .socket unit"
	case o.when == onFile:
		hint = "; hint: AmbientCapabilities=CAP_CHOWN, or a .socket unit"
	}
	return fmt.Errorf("option %s: %w%s", o.name, err, hint)
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
	errNoSocket  = errors.New("the file at this path is no socket and stays; hint: move it away or choose another path")
	errWasReused = errors.New("somebody else bound this path just now")
)

// errInUse is EADDRINUSE of a path that we have looked at.
var errInUse error = inUse{}

type inUse struct{}

func (inUse) Error() string { return "another process listens here" }

func (inUse) Is(target error) bool { return target == unix.EADDRINUSE }

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
