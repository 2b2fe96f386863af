package activation

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Unnamed is the name of a socket that was given none, the word that
// sd_listen_fds_with_names(3) uses for it.
const Unnamed = "unknown"

const maxName = 255 // FDNAME_MAX, systemd src/basic/fd-util.h

// networks maps a spec's network to its socket type.
var networks = map[string]int{
	"tcp": syscall.SOCK_STREAM, "tcp4": syscall.SOCK_STREAM, "tcp6": syscall.SOCK_STREAM,
	"udp": syscall.SOCK_DGRAM, "udp4": syscall.SOCK_DGRAM, "udp6": syscall.SOCK_DGRAM,
	"unix": syscall.SOCK_STREAM, "unixgram": syscall.SOCK_DGRAM, "unixpacket": syscall.SOCK_SEQPACKET,
	"vsock": syscall.SOCK_STREAM, "vsockgram": syscall.SOCK_DGRAM,
	"netlink": syscall.SOCK_RAW,
	"fifo":    0, "special": 0, // no sockets
}

// A Spec says which socket is wanted: [NAME=]NETWORK:ADDRESS[?KEY=VALUE[&KEY=VALUE...]].
//
// NETWORK and ADDRESS are
//
//   - tcp, tcp4, tcp6, udp, udp4 or udp6 and HOST:PORT, HOST an IP address, in
//     brackets for IPv6, or empty for all of the machine's;
//   - unix, unixgram or unixpacket and an absolute path, or @NAME in the abstract
//     namespace;
//   - vsock or vsockgram and CID:PORT, CID empty for all of the machine's;
//   - netlink and FAMILY or FAMILY:GROUPS;
//   - fifo or special and an absolute path.
//
// The first two are those of package net; tcp and udp without a host take IPv4 and
// IPv6 on one socket, as ListenStream=80 of systemd does. The options are those of
// systemd.socket(5), see docs/sockets.md.
type Spec struct {
	Name    string // entry in LISTEN_FDNAMES, "" if the text gave none
	Network string
	Address string
	Options string // KEY=VALUE&KEY=VALUE, "" if the text gave none

	endpoint
}

// ParseSpec parses the text of one --listen. Host names are not looked up and
// ports are numbers, so that a spec means the same socket at every reload. Errors
// do not repeat the text.
func ParseSpec(text string) (Spec, error) {
	s, asked, err := parsePlace(text)
	if err != nil || !asked {
		return s, err
	}
	settings, err := parseOptions(s.Network, s.Options)
	if err != nil {
		return s, err
	}
	return s, s.checkSettings(settings)
}

// parsePlace does not look at the options that the text asks for: where a socket is
// does not depend on them.
func parsePlace(text string) (s Spec, asked bool, err error) {
	rest := text
	// A unix path may hold "=", so a name ends before the first colon.
	if name, after, ok := strings.Cut(text, "="); ok && !strings.Contains(name, ":") {
		if name == "" {
			return s, false, errors.New("empty name before \"=\"")
		}
		if err := CheckName(name); err != nil {
			return s, false, err
		}
		s.Name, rest = name, after
	}
	rest, s.Options, asked = strings.Cut(rest, "?")
	network, address, ok := strings.Cut(rest, ":")
	if _, known := networks[network]; !known {
		if name, after, cut := strings.Cut(text, "="); cut && startsWithNetwork(after) {
			return s, asked, CheckName(name)
		}
		return s, asked, fmt.Errorf("unknown network %q; hint: [NAME=]NETWORK:ADDRESS with tcp, tcp4, tcp6, udp, udp4, udp6, unix, unixgram, unixpacket, vsock, vsockgram, netlink, fifo or special", network)
	}
	if !ok || address == "" {
		return s, asked, errors.New("missing address; hint: tcp::80, tcp:127.0.0.1:80, tcp:[::1]:80, unix:/run/app.sock")
	}
	s.Network, s.Address = network, address
	s.endpoint, err = parseEndpoint(network, address)
	return s, asked, err
}

// String is the text that ParseSpec takes.
func (s Spec) String() string {
	text := s.Network + ":" + s.Address
	if s.Name != "" {
		text = s.Name + "=" + text
	}
	if s.Options != "" {
		text += "?" + s.Options
	}
	return text
}

func (s Spec) unix() bool { return strings.HasPrefix(s.Network, "unix") }

// listens reports whether the socket accepts connections.
func (s Spec) listens() bool {
	typ := networks[s.Network]
	return typ == syscall.SOCK_STREAM || typ == syscall.SOCK_SEQPACKET
}

// path is the file that the socket makes, "" if it makes none.
func (s Spec) path() string {
	if s.unix() && s.Address[0] != '@' || s.Network == "fifo" {
		return s.Address
	}
	return ""
}

func startsWithNetwork(text string) bool {
	network, _, ok := strings.Cut(text, ":")
	_, known := networks[network]
	return ok && known
}

// CheckName follows fdname_is_valid (systemd src/basic/fd-util.c): printable
// ASCII without the colon that separates names.
func CheckName(name string) error {
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
