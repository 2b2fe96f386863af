package handoff

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// controlName is the control socket's file in the runtime directory, and its
// name among the descriptors of an estate.
const controlName = "flipexec.sock"

// controlSpec says where the control socket of this unit is: in its runtime
// directory, which outlives single processes and is the same in every sandbox of
// the unit; without one, at an abstract name that all processes of this run of
// the unit can compute.
func controlSpec(env []string) (activation.Spec, error) {
	address := ""
	if dir := runtimeDirectory(env); dir != "" {
		address = filepath.Join(dir, controlName)
	} else if id := value(env, "INVOCATION_ID"); id != "" {
		address = "@flipexec/" + id + "/" + unitName()
	} else {
		return activation.Spec{}, errors.New("no place for the control socket; hint: RuntimeDirectory= in the unit")
	}
	spec, err := activation.ParseSpec("unixpacket:" + address)
	if err != nil {
		return spec, fmt.Errorf("control socket %s: %w", address, err)
	}
	return spec, nil
}

// unitName is the unit that this process belongs to by its cgroup, also where
// Delegate= puts control processes into a cgroup below it; "" if it shows none.
func unitName() string {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	return parseUnit(string(data))
}

func parseUnit(cgroups string) string {
	unit := ""
	for _, line := range strings.Split(cgroups, "\n") {
		for _, part := range strings.Split(line, "/") {
			if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
				unit = part
			}
		}
	}
	return unit
}

func controlAddress(s activation.Socket) string {
	spec, err := activation.ParseSpec(s.Spec)
	if err != nil {
		return ""
	}
	return spec.Address
}

// bindControl makes the control socket of generation 1; later ones inherit it.
func bindControl(env []string) (activation.Socket, error) {
	spec, err := controlSpec(env)
	if err != nil {
		return activation.Socket{}, err
	}
	s, err := bindOwn(spec)
	if err != nil {
		return s, fmt.Errorf("control socket: %w", err)
	}
	return s, nil
}

// bindOwn binds a socket for our own user and root.
func bindOwn(spec activation.Spec) (activation.Socket, error) {
	s, err := activation.Bind(spec)
	if err != nil {
		return s, err
	}
	if s.Ino == 0 {
		return s, nil
	}
	// Peers are checked one by one; the mode only keeps others from trying.
	if err := unix.Chmod(spec.Address, 0o600); err != nil {
		s.Unlink()
		s.Close()
		return s, &os.PathError{Op: "chmod", Path: spec.Address, Err: err}
	}
	return s, nil
}

// connectControl reaches the keeper of the current generation.
func connectControl(env []string) (*channel, error) {
	spec, err := controlSpec(env)
	if err != nil {
		return nil, err
	}
	c, err := dial(spec.Address)
	switch {
	case errors.Is(err, unix.ECONNREFUSED) && (spec.Address[0] == '/' || hadKeeper(value(env, "MAINPID"), spec.Address)):
		return nil, &Error{ExitNotRunning, fmt.Errorf("the keeper of the running generation is gone: %w; hint: systemctl restart, its server serves until then", err)}
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return nil, &Error{ExitNotRunning, fmt.Errorf("nothing is running: %w; hint: was the unit started by flipexec?", err)}
	}
	return c, err
}

// dial connects to a socket of our own user's, or of root's.
func dial(address string) (*channel, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	c, err := newChannel(fd)
	if err != nil {
		return nil, err
	}
	err = ignoringEINTR(func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: address}) })
	if err == nil {
		err = checkPeer(fd)
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("connect %s: %w", address, err)
	}
	return c, nil
}

// hadKeeper reports whether the main process was started with a keeper that answered
// there: an abstract name goes with whoever has it.
func hadKeeper(mainPID, address string) bool {
	environ, err := os.ReadFile(filepath.Join("/proc", mainPID, "environ"))
	return err == nil && value(strings.Split(string(environ), "\x00"), "FLIPEXEC_CONTROL") == address
}

// acceptControl takes one connection, or none if it came from somebody else.
func acceptControl(listener int) (*channel, error) {
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("accept", err)
	}
	if err := checkPeer(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return newChannel(fd)
}

// checkPeer refuses everybody but our own user and root, in both directions: an
// abstract name can be taken by anyone.
func checkPeer(fd int) error {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	if cred.Uid != 0 && int(cred.Uid) != unix.Geteuid() {
		return fmt.Errorf("control socket: peer is user %d, neither root nor user %d", cred.Uid, unix.Geteuid())
	}
	return nil
}
