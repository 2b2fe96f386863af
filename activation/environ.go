package activation

import (
	"fmt"
	"strconv"
	"strings"
)

// Variables of the protocol. LISTEN_PIDFDID exists since systemd 259.
const (
	EnvPID     = "LISTEN_PID"
	EnvFDs     = "LISTEN_FDS"
	EnvNames   = "LISTEN_FDNAMES"
	EnvPIDFDID = "LISTEN_PIDFDID"
)

// FirstFD is the number of the first passed descriptor, SD_LISTEN_FDS_START.
const FirstFD = 3

// maxFDs bounds LISTEN_FDS: the kernel's own bound on open files, sysctl
// fs.nr_open, is about a million by default.
const maxFDs = 1 << 20

// Environ is LISTEN_FDS and LISTEN_FDNAMES for sockets that the next program
// finds from FirstFD on, in this order. LISTEN_PID is not among them: only the
// program itself knows it, after it was cloned. LISTEN_PIDFDID is never set,
// which readers take as "do not check".
func Environ(sockets []Socket) []string {
	names := make([]string, len(sockets))
	for i, s := range sockets {
		names[i] = s.Name
	}
	return []string{
		EnvFDs + "=" + strconv.Itoa(len(sockets)),
		EnvNames + "=" + strings.Join(names, ":"),
	}
}

// offer is what the variables say, before any descriptor is looked at.
type offer struct {
	pid     int    // 0: LISTEN_PID is absent
	pidfdid uint64 // 0: LISTEN_PIDFDID is absent
	names   []string
}

// parseOffer reads the variables. A malformed one is an error: a server that
// silently starts without its sockets is worse than one that does not start.
func parseOffer(lookup func(string) (string, bool)) (o offer, err error) {
	fds, ok := lookup(EnvFDs)
	if !ok {
		return o, nil
	}
	n, err := strconv.Atoi(fds)
	if err != nil || n < 0 || n > maxFDs {
		return o, fmt.Errorf("%s=%q is no number of descriptors", EnvFDs, fds)
	}
	if pid, ok := lookup(EnvPID); ok {
		if o.pid, err = strconv.Atoi(pid); err != nil || o.pid <= 0 {
			return o, fmt.Errorf("%s=%q is no process ID", EnvPID, pid)
		}
	}
	if id, ok := lookup(EnvPIDFDID); ok {
		if o.pidfdid, err = strconv.ParseUint(id, 10, 64); err != nil || o.pidfdid == 0 {
			return o, fmt.Errorf("%s=%q is no pidfd inode number", EnvPIDFDID, id)
		}
	}
	names, ok := lookup(EnvNames)
	o.names, err = parseNames(names, ok, n)
	return o, err
}

func parseNames(text string, given bool, n int) ([]string, error) {
	if !given {
		names := make([]string, n)
		for i := range names {
			names[i] = Unnamed
		}
		return names, nil
	}
	var names []string
	if n > 0 || text != "" { // "" is one empty name, or none at all
		names = strings.Split(text, ":")
	}
	if len(names) != n {
		return nil, fmt.Errorf("%s=%q has %d names for %d descriptors", EnvNames, text, len(names), n)
	}
	for _, name := range names {
		if err := CheckName(name); err != nil {
			return nil, fmt.Errorf("%s=%q: %w", EnvNames, text, err)
		}
	}
	return names, nil
}
