package activation

import (
	"errors"

	"golang.org/x/sys/unix"
)

func parseProtocol(_ *option, text string) (value, error) {
	switch text {
	case "mptcp":
		return value{unix.IPPROTO_MPTCP, text}, nil
	case "sctp":
		return value{unix.IPPROTO_SCTP, text}, nil
	case "udplite":
		return value{unix.IPPROTO_UDPLITE, text}, nil
	}
	return value{}, errors.New("is neither mptcp, sctp nor udplite")
}

// put sets the option.
func (o *option) put(s Socket, v value) error {
	if o.set != nil {
		return o.set(s, v)
	}
	for _, opt := range o.sockopts(s.FD) {
		if err := unix.SetsockoptInt(s.FD, opt.level, opt.name, v.n); err != nil {
			return err
		}
	}
	return nil
}

// now is the value that the socket has.
func (o *option) now(s Socket) (v value, err error) {
	if o.get != nil {
		return o.get(s)
	}
	v.n, err = getNumber(s.FD, o.sockopts(s.FD)[0])
	return v, err
}

func getNumber(fd int, opt sockopt) (int, error) {
	n, err := unix.GetsockoptInt(fd, opt.level, opt.name)
	if opt.name == unix.SO_MARK && opt.level == unix.SOL_SOCKET {
		n = int(uint32(n))
	}
	return n, err
}

func (o *option) sockopts(fd int) []sockopt {
	domain, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN) // the next call fails as well
	switch {
	case domain != unix.AF_INET6 || o.v6 == sockopt{}:
		return []sockopt{o.v4}
	case o.both:
		return []sockopt{o.v6, o.v4}
	}
	return []sockopt{o.v6}
}

func setDevice(s Socket, v value) error {
	return unix.SetsockoptString(s.FD, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, v.text)
}

func getDevice(s Socket) (v value, err error) {
	v.text, err = unix.GetsockoptString(s.FD, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	return v, err
}

func setCongestion(s Socket, v value) error {
	return unix.SetsockoptString(s.FD, unix.SOL_TCP, unix.TCP_CONGESTION, v.text)
}

func getCongestion(s Socket) (v value, err error) {
	v.text, err = unix.GetsockoptString(s.FD, unix.SOL_TCP, unix.TCP_CONGESTION)
	return v, err
}

// SCTP_NODELAY of linux/sctp.h.
const sctpNoDelay = 3

func noDelay(fd int) sockopt {
	if protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err == nil && protocol == unix.IPPROTO_SCTP {
		return sockopt{unix.IPPROTO_SCTP, sctpNoDelay}
	}
	return sockopt{unix.SOL_TCP, unix.TCP_NODELAY}
}

func setNoDelay(s Socket, v value) error {
	opt := noDelay(s.FD)
	return unix.SetsockoptInt(s.FD, opt.level, opt.name, v.n)
}

func getNoDelay(s Socket) (v value, err error) {
	v.n, err = getNumber(s.FD, noDelay(s.FD))
	return v, err
}

func packetInfo(fd int) sockopt {
	switch domain, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); domain {
	case unix.AF_INET6:
		return sockopt{unix.SOL_IPV6, unix.IPV6_RECVPKTINFO}
	case unix.AF_NETLINK:
		return sockopt{unix.SOL_NETLINK, unix.NETLINK_PKTINFO}
	}
	return sockopt{unix.SOL_IP, unix.IP_PKTINFO}
}

func setPacketInfo(s Socket, v value) error {
	opt := packetInfo(s.FD)
	return unix.SetsockoptInt(s.FD, opt.level, opt.name, v.n)
}

func getPacketInfo(s Socket) (v value, err error) {
	v.n, err = getNumber(s.FD, packetInfo(s.FD))
	return v, err
}

// setTimestamping: each of the two options that the kernel has switches the other
// off when it is switched on, and both when it is switched off.
func setTimestamping(s Socket, v value) error {
	name, on := unix.SO_TIMESTAMP, 1
	switch v.n {
	case timestampsNS:
		name = unix.SO_TIMESTAMPNS
	case timestampsOff:
		on = 0
	}
	return unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, name, on)
}

func getTimestamping(s Socket) (value, error) {
	ns, err := unix.GetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS)
	if err != nil || ns != 0 {
		return value{n: timestampsNS}, err
	}
	us, err := unix.GetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_TIMESTAMP)
	if err != nil || us != 0 {
		return value{n: timestampsUS}, err
	}
	return value{n: timestampsOff}, nil
}

func setPipeSize(s Socket, v value) error {
	_, err := unix.FcntlInt(uintptr(s.FD), unix.F_SETPIPE_SZ, v.n)
	return err
}

func getPipeSize(s Socket) (v value, err error) {
	v.n, err = unix.FcntlInt(uintptr(s.FD), unix.F_GETPIPE_SZ, 0)
	return v, err
}

func setNonBlocking(s Socket, v value) error { return unix.SetNonblock(s.FD, v.n != 0) }

func getNonBlocking(s Socket) (v value, err error) {
	flags, err := unix.FcntlInt(uintptr(s.FD), unix.F_GETFL, 0)
	if flags&unix.O_NONBLOCK != 0 {
		v.n = 1
	}
	return v, err
}

func getWritable(s Socket) (v value, err error) {
	flags, err := unix.FcntlInt(uintptr(s.FD), unix.F_GETFL, 0)
	if flags&unix.O_ACCMODE == unix.O_RDWR {
		v.n = 1
	}
	return v, err
}

func setBacklog(s Socket, v value) error { return unix.Listen(s.FD, v.n) }

// errUnseen is about a value that the kernel keeps to itself.
var errUnseen = errors.New("cannot be read from the socket")

func getBacklog(s Socket) (v value, err error) {
	protocol, err := unix.GetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || protocol != unix.IPPROTO_TCP {
		return v, errUnseen
	}
	info, err := unix.GetsockoptTCPInfo(s.FD, unix.SOL_TCP, unix.TCP_INFO)
	if err != nil {
		return v, err
	}
	v.n = int(info.Sacked) // of a listening socket: net/ipv4/tcp.c, tcp_get_info
	return v, nil
}
