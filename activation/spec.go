package activation

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
)

// Unnamed is the name of a socket that was given none, the word that
// sd_listen_fds_with_names(3) uses for it.
const Unnamed = "unknown"

const (
	maxName = 255 // FDNAME_MAX, systemd src/basic/fd-util.h
	maxPath = 107 // sun_path of unix(7), less the closing NUL
)

// networks maps a spec's network to its socket type.
var networks = map[string]int{
	"tcp": syscall.SOCK_STREAM, "tcp4": syscall.SOCK_STREAM, "tcp6": syscall.SOCK_STREAM,
	"udp": syscall.SOCK_DGRAM, "udp4": syscall.SOCK_DGRAM, "udp6": syscall.SOCK_DGRAM,
	"unix": syscall.SOCK_STREAM, "unixgram": syscall.SOCK_DGRAM, "unixpacket": syscall.SOCK_SEQPACKET,
}

// A Spec says which socket is wanted: [NAME=]NETWORK:ADDRESS.
//
// NETWORK is tcp, tcp4, tcp6, udp, udp4, udp6 (ADDRESS is HOST:PORT, HOST an
// IP address, in brackets for IPv6, or empty for all of the machine's) or unix,
// unixgram, unixpacket (ADDRESS is an absolute path, or @NAME in the abstract
// namespace). The networks are those of package net; tcp and udp without a
// host take IPv4 and IPv6 on one socket, as ListenStream=80 of systemd does.
type Spec struct {
	Name    string // entry in LISTEN_FDNAMES, "" if the text gave none
	Network string
	Address string

	host netip.Addr // invalid: every address of the machine
	port uint16
}

// ParseSpec parses the text of one --listen. Host names are not looked up and
// ports are numbers, so that a spec means the same socket at every reload. Errors
// do not repeat the text.
func ParseSpec(text string) (s Spec, err error) {
	rest := text
	// A unix path may hold "=", so a name ends before the first colon.
	if name, after, ok := strings.Cut(text, "="); ok && !strings.Contains(name, ":") {
		if name == "" {
			return s, errors.New("empty name before \"=\"")
		}
		if err := checkName(name); err != nil {
			return s, err
		}
		s.Name, rest = name, after
	}
	network, address, ok := strings.Cut(rest, ":")
	if _, known := networks[network]; !known {
		if name, after, cut := strings.Cut(text, "="); cut && startsWithNetwork(after) {
			return s, checkName(name)
		}
		return s, fmt.Errorf("unknown network %q; hint: [NAME=]NETWORK:ADDRESS with tcp, tcp4, tcp6, udp, udp4, udp6, unix, unixgram or unixpacket", network)
	}
	if !ok || address == "" {
		return s, errors.New("missing address; hint: tcp::80, tcp:127.0.0.1:80, tcp:[::1]:80, unix:/run/app.sock")
	}
	s.Network, s.Address = network, address
	if s.unix() {
		return s, checkPath(address)
	}
	s.host, s.port, err = parseHostPort(network, address)
	return s, err
}

// String is the text that ParseSpec takes.
func (s Spec) String() string {
	if s.Name == "" {
		return s.Network + ":" + s.Address
	}
	return s.Name + "=" + s.Network + ":" + s.Address
}

func (s Spec) unix() bool { return strings.HasPrefix(s.Network, "unix") }

// path is the socket's file, "" if it has none.
func (s Spec) path() string {
	if s.unix() && s.Address[0] != '@' {
		return s.Address
	}
	return ""
}

func startsWithNetwork(text string) bool {
	network, _, ok := strings.Cut(text, ":")
	_, known := networks[network]
	return ok && known
}

// checkName follows fdname_is_valid (systemd src/basic/fd-util.c): printable
// ASCII without the colon that separates names.
func checkName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("name of %d bytes; hint: at most %d", len(name), maxName)
	}
	for _, c := range []byte(name) {
		if c < ' ' || c > '~' || c == ':' {
			return fmt.Errorf("name %q: %q is not allowed; hint: printable ASCII without \":\"", name, c)
		}
	}
	return nil
}

func checkPath(path string) error {
	switch {
	case strings.IndexByte(path, 0) >= 0:
		return errors.New("NUL in the path")
	case path == "@":
		return errors.New("empty abstract name")
	case path[0] != '/' && path[0] != '@':
		return fmt.Errorf("path %q is not absolute; hint: /run/app.sock, or @name for an abstract socket", path)
	case len(path) > maxPath:
		return fmt.Errorf("path of %d bytes; hint: unix(7) allows %d", len(path), maxPath)
	case path[0] == '/' && strings.HasSuffix(path, "/"):
		return fmt.Errorf("path %q is a directory", path)
	}
	return nil
}

func parseHostPort(network, address string) (host netip.Addr, port uint16, err error) {
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return host, 0, fmt.Errorf("missing port in %q; hint: %q", address, network+"::"+address)
	}
	p, err := strconv.ParseUint(address[i+1:], 10, 16)
	if err != nil {
		return host, 0, fmt.Errorf("port %q; hint: a number from 0 to 65535", address[i+1:])
	}
	text := address[:i]
	if text == "" {
		return host, uint16(p), nil
	}
	bare, v6 := strings.CutPrefix(text, "[")
	if v6 {
		if bare, v6 = strings.CutSuffix(bare, "]"); !v6 {
			return host, 0, fmt.Errorf("host %q: missing \"]\"", text)
		}
	}
	host, err = netip.ParseAddr(bare)
	if err != nil {
		return host, 0, fmt.Errorf("host %q is no IP address; hint: names are not looked up", text)
	}
	if host.Is6() != v6 {
		return host, 0, fmt.Errorf("host %q; hint: IPv6 addresses, and only they, stand in brackets", text)
	}
	if strings.HasSuffix(network, "4") && v6 || strings.HasSuffix(network, "6") && !v6 {
		return host, 0, fmt.Errorf("host %q does not fit network %s", text, network)
	}
	return host, uint16(p), nil
}
