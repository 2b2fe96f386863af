package handoff

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where systemd mounts the unified hierarchy. Paths of cgroups are
// relative to it, as in /proc/PID/cgroup.
const cgroupRoot = "/sys/fs/cgroup"

// systemdCgroup is the path in the hierarchy that systemd manages, cgroups(7): the
// unified one, or the named one where version 1 is in use; "" if there is neither.
func systemdCgroup(cgroups string) string {
	named := ""
	for _, line := range strings.Split(cgroups, "\n") {
		if path, ok := strings.CutPrefix(line, "0::"); ok && path != "/" {
			return path
		}
		// A path may hold colons, and its owner chooses its name.
		if _, rest, _ := strings.Cut(line, ":"); strings.HasPrefix(rest, "name=systemd:") {
			named = strings.TrimPrefix(rest, "name=systemd:")
		}
	}
	return named
}

// unitCgroup is the unit's part of a cgroup: with Delegate= control processes are
// in .control below it, and so are the keepers that they start; the server may be
// anywhere below. Where no unit shows, it is all of it.
func unitCgroup(cgroup string) string {
	parts := strings.Split(cgroup, "/")
	for i := len(parts); i > 0; i-- {
		if isUnit(parts[i-1]) {
			return strings.Join(parts[:i], "/")
		}
	}
	return cgroup
}

// isUnit tells a unit that holds processes by the name of its cgroup.
func isUnit(name string) bool {
	return strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".scope")
}

// within reports whether a cgroup is parent or below it. What is outside of our
// cgroup namespace begins with "/..", cgroup_namespaces(7).
func within(cgroup, parent string) bool {
	if parent == "" || strings.HasPrefix(cgroup, "/..") {
		return false
	}
	return cgroup == parent || strings.HasPrefix(cgroup, strings.TrimSuffix(parent, "/")+"/")
}

// newCgroup makes a cgroup for a generation, if Delegate= allows it, so that none
// of its processes can get lost; else it returns "", and members does without.
//
// Only a server that systemd put into the unit's cgroup itself is moved. With
// DelegateSubgroup= (systemd 254) it has a place of its own, which it may rely on:
// then generation 1 is started in the subgroup, and its successors, which systemd
// starts in .control in any case, go where generation 1 led. No controller is
// enabled: what the unit is allowed holds for all generations together.
func newCgroup(generation int) string {
	own := proc{}.cgroup(os.Getpid())
	unit := unitCgroup(own)
	if unit == "" || !delegated(unit) {
		return ""
	}
	if generation == 1 && own != unit {
		return ""
	}
	if _, err := os.Stat(cgroupRoot + filepath.Join(unit, cgroupName(generation-1))); generation > 1 && err != nil {
		return ""
	}
	path := filepath.Join(unit, cgroupName(generation))
	dir := cgroupRoot + path
	removeTree(dir) // of a generation whose keeper and launcher were killed; one with processes stays, and is not ours
	if unix.Mkdir(dir, 0o755) != nil {
		return ""
	}
	unix.Chmod(dir, 0o755) // best effort: with UMask=0077 a server that changes its user could not read its own limits
	return path
}

func cgroupName(generation int) string { return "flipexec-" + strconv.Itoa(generation) }

// delegated reports whether systemd leaves the inside of a unit's cgroup to the
// unit. It says so by an extended attribute: "trusted.delegate", which needs
// CAP_SYS_ADMIN to be read, and from version 251 on "user.delegate" as well
// (src/core/cgroup.c, cgroup_xattr_apply). Without privileges and before 251 there
// is no telling: under a user's manager every cgroup is the user's.
func delegated(unit string) bool {
	var fs unix.Statfs_t
	if unix.Statfs(cgroupRoot, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return false
	}
	for _, attribute := range []string{"user.delegate", "trusted.delegate"} {
		var v [1]byte
		if n, err := unix.Getxattr(cgroupRoot+unit, attribute, v[:]); err == nil && n == 1 && v[0] == '1' {
			return true
		}
	}
	return false
}

// moveTo moves the process into a cgroup. It may stay where it is: then the cgroup
// remains empty, and nobody is found by it.
func (p process) moveTo(cgroup string) {
	if cgroup != "" {
		os.WriteFile(cgroupRoot+cgroup+"/cgroup.procs", strconv.AppendInt(nil, int64(p.pid), 10), 0) // best effort
	}
}

// killCgroup kills everything in the cgroup at once, from Linux 5.14 on, also what
// we could not signal.
func killCgroup(cgroup string) {
	if cgroup != "" {
		os.WriteFile(cgroupRoot+cgroup+"/cgroup.kill", []byte("1"), 0) // best effort
	}
}

// removeCgroup removes the cgroup of a generation that is gone, with what its
// server made below it. What is not empty stays: it ends with the unit.
func removeCgroup(cgroup string) {
	if cgroup == "" {
		return
	}
	dir := cgroupRoot + cgroup
	if errors.Is(removeTree(dir), unix.EBUSY) && awaitEmpty(dir) {
		removeTree(dir)
	}
}

func removeTree(dir string) error {
	err := unix.Rmdir(dir)
	if err != unix.EBUSY { // processes, or cgroups below
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			removeTree(filepath.Join(dir, entry.Name()))
		}
	}
	return unix.Rmdir(dir)
}

// awaitEmpty waits for processes that were killed to leave their cgroup, and
// reports whether they have. The kernel tells of a change by POLLPRI,
// Documentation/admin-guide/cgroup-v2.rst, "[Un]populated Notification".
func awaitEmpty(dir string) bool {
	fd, err := unix.Open(filepath.Join(dir, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	for {
		var buf [256]byte
		n, err := unix.Pread(fd, buf[:], 0)
		if err != nil || bytes.Contains(buf[:n], []byte("populated 0")) {
			return err == nil
		}
		changed := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}
		if n, err := unix.Poll(changed, reapTime); n == 0 || err != nil && err != unix.EINTR {
			return false
		}
	}
}
