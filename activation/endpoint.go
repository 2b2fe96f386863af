package activation

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	maxPath = 107  // sun_path of unix(7), less the closing NUL
	maxFile = 4095 // PATH_MAX, less the closing NUL

	// VMADDR_CID_ANY and VMADDR_PORT_ANY, vsock(7)
	anyVsock = 1<<32 - 1
)

// An endpoint is an address as numbers.
type endpoint struct {
	host   netip.Addr // invalid: every address of the machine
	port   uint32
	cid    uint32 // of vsock
	family int    // of netlink
	groups uint32 // of netlink
}

func parseEndpoint(network, address string) (e endpoint, err error) {
	switch network {
	case "unix", "unixgram", "unixpacket":
		return e, checkPath(address)
	case "fifo", "special":
		return e, checkFile(address)
	case "vsock", "vsockgram":
		return parseVsock(address)
	case "netlink":
		return parseNetlink(address)
	}
	e.host, e.port, err = parseHostPort(network, address)
	return e, err
}

func checkPath(path string) error {
	switch {
	case path == "@":
		return errors.New("empty abstract name")
	case len(path) > maxPath:
		return fmt.Errorf("path of %d bytes; hint: unix(7) allows %d", len(path), maxPath)
	case path[0] == '@' && strings.IndexByte(path, 0) < 0:
		return nil
	case path[0] != '/' && path[0] != '@':
		return fmt.Errorf("path %q is not absolute; hint: /run/app.sock, or @name for an abstract socket", path)
	}
	return checkFile(path)
}

func checkFile(path string) error {
	switch {
	case strings.IndexByte(path, 0) >= 0:
		return errors.New("NUL in the path")
	case path[0] != '/':
		return fmt.Errorf("path %q is not absolute", path)
	case len(path) > maxFile:
		return fmt.Errorf("path of %d bytes; hint: at most %d", len(path), maxFile)
	case strings.HasSuffix(path, "/"):
		return fmt.Errorf("path %q is a directory", path)
	}
	return nil
}

func parseVsock(address string) (e endpoint, err error) {
	cid, port, ok := strings.Cut(address, ":")
	if !ok {
		return e, fmt.Errorf("missing port in %q; hint: %q", address, "vsock::"+address)
	}
	e.cid = anyVsock
	if cid != "" {
		if e.cid, err = parseUint32(cid); err != nil {
			return e, fmt.Errorf("CID %q %w", cid, err)
		}
	}
	if e.port, err = parseUint32(port); err != nil {
		return e, fmt.Errorf("port %q %w", port, err)
	}
	return e, nil
}

// netlinkFamilies are the names that systemd has for NETLINK_* of linux/netlink.h,
// src/basic/socket-util.c.
var netlinkFamilies = [...]string{0: "route", 3: "firewall", 4: "inet-diag", 5: "nflog", 6: "xfrm", 7: "selinux", 8: "iscsi",
	9: "audit", 10: "fib-lookup", 11: "connector", 12: "netfilter", 13: "ip6-fw", 14: "dnrtmsg", 15: "kobject-uevent",
	16: "generic", 18: "scsitransport", 19: "ecryptfs", 20: "rdma"}

func parseNetlink(address string) (e endpoint, err error) {
	family, groups, ok := strings.Cut(address, ":")
	if e.family = slices.Index(netlinkFamilies[:], family); e.family < 0 || family == "" {
		n, err := strconv.ParseUint(family, 10, 8)
		if err != nil {
			return e, fmt.Errorf("netlink family %q; hint: route, audit, kobject-uevent, ..., or a number", family)
		}
		e.family = int(n)
	}
	if ok {
		if e.groups, err = parseUint32(groups); err != nil {
			return e, fmt.Errorf("netlink groups %q %w", groups, err)
		}
	}
	return e, nil
}

func parseUint32(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, errors.New("is no number from 0 to 4294967295")
	}
	return uint32(n), nil
}

func parseHostPort(network, address string) (host netip.Addr, port uint32, err error) {
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
		return host, uint32(p), nil
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
	return host, uint32(p), nil
}
