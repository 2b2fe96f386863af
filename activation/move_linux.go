package activation

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A reach is for what an IP socket gets packets.
type reach struct {
	addr   netip.Addr // 0.0.0.0 or :: for every address
	port   int
	v4, v6 bool
}

// reachOf is the reach of a socket at sa, none if that is no IP address or no port yet.
func reachOf(sa unix.Sockaddr, only bool) (r reach) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		r = reach{netip.AddrFrom4(sa.Addr), sa.Port, true, false}
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(sa.Addr)
		mapped := addr.Is4In6()
		r = reach{addr.Unmap(), sa.Port, mapped || addr.IsUnspecified() && !only, !mapped}
		if sa.ZoneId != 0 {
			r.addr = addr.WithZone(strconv.FormatUint(uint64(sa.ZoneId), 10))
		}
	}
	if r.port == 0 {
		return reach{}
	}
	return r
}

func (s Socket) reach() reach {
	sa, err := unix.Getsockname(s.FD)
	if err != nil {
		return reach{}
	}
	only, err := unix.GetsockoptInt(s.FD, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	return reachOf(sa, err == nil && only != 0)
}

// port is that of an IP socket, else 0.
func (s Socket) port() int { return s.reach().port }

// overlaps reports whether some packet is for both.
func (r reach) overlaps(other reach) bool {
	return r.port == other.port && (r.v4 && other.v4 || r.v6 && other.v6) &&
		(r.addr == other.addr || r.addr.IsUnspecified() || other.addr.IsUnspecified())
}

// rank says which of two sockets the kernel gives a packet that is for both: to the one
// of the higher rank (__inet_lookup_listener looks for the address first, and
// compute_score of net/ipv4/inet_hashtables.c prefers AF_INET; udp.c does the same).
func (r reach) rank() int {
	switch {
	case !r.addr.IsUnspecified():
		return 2
	case r.addr.Is4():
		return 1
	}
	return 0
}

// inTheWay are those of the leaving sockets that bind(2) would not let spec's beside.
func (s Spec) inTheWay(sa unix.Sockaddr, leaving leavingSockets) (all []Socket) {
	want := reachOf(sa, !s.mixed())
	for _, old := range leaving[want.port] {
		if typ, err := unix.GetsockoptInt(old.FD, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || typ != networks[s.Network] {
			continue
		}
		if want.overlaps(old.reach()) && s.samePorts(old.FD) {
			all = append(all, old)
		}
	}
	return all
}

// A room is what is changed for as long as a bind takes.
type room struct{ owners, flags Changes }

// makeRoom lets sock be bound and listen beside sockets that are to go, and hides it if
// it would take connections from them: the server behind them serves on until the new
// one has taken over, or for good if that fails.
//
// All get SO_REUSEPORT, which lets in who has it as well, and the same user. So all
// belong to nobody meanwhile, if we may do that, and nobody else can be that user: neither
// now nor later, for the kernel remembers who was let in last as long as one of them is
// bound (fastuid of struct inet_bind_bucket), and asks no more.
func (s Spec) makeRoom(sock Socket, sa unix.Sockaddr, leaving leavingSockets) (r room, err error) {
	old := s.inTheWay(sa, leaving)
	if len(old) == 0 {
		return room{}, nil
	}
	sock.Spec = s.String()
	if err := s.hideBefore(sock, sa, old); err != nil {
		return room{}, err
	}
	r = roomIn(append(old, sock))
	if r.owners.Apply() != nil {
		r.owners = nil // not ours to give away: then it is the same user's processes that could get in
	}
	if err := r.flags.Apply(); err != nil {
		r.owners.Undo()
		return room{}, err
	}
	return r, nil
}

func (r room) close() {
	r.flags.Undo()
	r.owners.Undo()
}

// nobody is in a range of users that systemd, docs/UIDS-GIDS.md, knows as unused.
const nobody = 1<<31 - 2

var socketOwner = option{name: "owner", set: setSocketOwner, get: getSocketOwner}

// setSocketOwner changes sk_uid, which bind(2) compares.
func setSocketOwner(s Socket, v value) error { return unix.Fchown(s.FD, v.n, -1) }

func getSocketOwner(s Socket) (v value, err error) {
	var st unix.Stat_t
	err = unix.Fstat(s.FD, &st)
	return value{n: int(st.Uid)}, err
}

func roomIn(sockets []Socket) (r room) {
	reuse := optionNamed("reuseport")
	for _, s := range sockets {
		r.owners = append(r.owners, changeTo(s, &socketOwner, nobody))
		r.flags = append(r.flags, changeTo(s, reuse, 1))
	}
	return r
}

// changeTo is a change from what the socket has.
func changeTo(s Socket, o *option, n int) Change {
	from, _ := o.now(s) // it is open, or Apply fails
	return Change{socket: s, option: o, from: from, to: value{n: n}}
}

// foreseeRoom is what makeRoom would change of sockets that exist already.
func foreseeRoom(s Spec, leaving leavingSockets) Changes {
	sa, err := s.sockaddr()
	if err != nil {
		return nil
	}
	r := roomIn(s.inTheWay(sa, leaving))
	return append(r.flags, r.owners...)
}

// nowhere is the index of no interface.
const nowhere = math.MaxInt32

// hideBefore hides sock, if it has to be, and makes sure that it can be shown again.
func (s Spec) hideBefore(sock Socket, sa unix.Sockaddr, old []Socket) error {
	rank := reachOf(sa, !s.mixed()).rank()
	for _, o := range old {
		if rank < o.reach().rank() {
			continue
		}
		err := sock.hide()
		if err == nil {
			err = sock.show()
		}
		if err == nil {
			err = sock.hide()
		}
		if err != nil {
			return fmt.Errorf("it would take connections from %s before its server is ready, and not doing so: %w; hint: AmbientCapabilities=CAP_NET_RAW, or systemctl restart", o.Spec, err)
		}
		return nil
	}
	return nil
}

func (s Socket) hide() error {
	if !s.ip() {
		return nil
	}
	return os.NewSyscallError("setsockopt SO_BINDTOIFINDEX", unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, nowhere))
}

func (s Socket) show() error {
	if i, err := unix.GetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX); err != nil || i != nowhere {
		return nil // none, or not hidden
	}
	spec, _, err := parsePlace(s.Spec)
	if err != nil {
		return err
	}
	if device, ok := spec.given("device"); ok {
		return os.NewSyscallError("setsockopt SO_BINDTODEVICE", setDevice(s, device))
	}
	return os.NewSyscallError("setsockopt SO_BINDTOIFINDEX", unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, 0))
}

func (s Socket) ip() bool {
	domain, err := unix.GetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && (domain == unix.AF_INET || domain == unix.AF_INET6)
}

// waiting reports whether somebody waits to be accepted, or a datagram to be read.
func (s Socket) waiting() bool {
	if networks[s.network()] == 0 || s.network() == "netlink" { // whose readers need not read
		return false
	}
	fds := []unix.PollFd{{Fd: int32(s.FD), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) == 0
}

// network is that of the spec that the socket was bound from.
func (s Socket) network() string {
	spec, _, _ := parsePlace(s.Spec)
	return spec.Network
}
