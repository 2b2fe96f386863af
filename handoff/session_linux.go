package handoff

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procStat is what we need of /proc/PID/stat, proc_pid_stat(5).
type procStat struct {
	state    byte
	parent   int
	session  int
	exitCode int // a wait status; 0 where ptrace access is denied
}

func readStat(pid int) (procStat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, err
	}
	return parseStat(data)
}

func parseStat(data []byte) (st procStat, err error) {
	// The command may hold blanks and parentheses; the last ")" ends it.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const state, ppid, session, exitCode = 0, 1, 3, 49 // fields 3, 4, 6 and 52 of the manual
	if len(fields) <= exitCode {
		return st, errors.New("stat: too few fields")
	}
	st.state = fields[state][0]
	for _, f := range []struct {
		to *int
		at int
	}{{&st.parent, ppid}, {&st.session, session}, {&st.exitCode, exitCode}} {
		if *f.to, err = strconv.Atoi(fields[f.at]); err != nil {
			return st, fmt.Errorf("stat: %w", err)
		}
	}
	return st, nil
}

// members holds every living process of the session that leader began, leader
// included. The descriptors are the caller's. Processes of another user that
// ProtectProc= hides are not found; those of our own always are.
func members(leader process) []process {
	if st, err := readStat(leader.pid); err == nil && st.state != 'Z' && !leader.running() {
		return nil // by now the number, and with it the session, is another process's
	}
	dir, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	inSession := func(pid int) bool {
		st, err := readStat(pid)
		return err == nil && st.session == leader.pid && st.state != 'Z'
	}
	var found []process
	for _, entry := range dir {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || !inSession(pid) {
			continue
		}
		p, err := open(pid)
		if err != nil {
			continue
		}
		if !inSession(pid) { // the number changed hands between the two looks
			p.close()
			continue
		}
		found = append(found, p)
	}
	return found
}

// killSession sends SIGKILL to all of the leader's session, wherever its
// processes have moved by setpgid(2). It repeats the look until it finds nobody
// new, because a process may fork while we read.
func killSession(leader process) {
	leader.signal(unix.SIGKILL)
	killed := map[int]bool{}
	for again := true; again; {
		again = false
		for _, p := range members(leader) {
			p.signal(unix.SIGKILL) // best effort: what runs as another user ends with the unit
			again = again || !killed[p.pid]
			killed[p.pid] = true
			p.close()
		}
	}
}

// belongs reports whether process pid is of the generation whose server is given
// and whose notify socket is at notifyPath: the server, one of its descendants,
// a process of its session, or one of the unit that was started with its
// environment (a server that daemonized has neither parent nor session left to
// show). An environment alone proves nothing: anybody can set it.
func belongs(pid int, server process, notifyPath string) bool {
	if pid == server.pid {
		return true
	}
	for p, depth := pid, 0; p > 1 && depth < 64; depth++ {
		st, err := readStat(p)
		if err != nil {
			break
		}
		if st.session == server.pid || st.parent == server.pid {
			return true
		}
		p = st.parent
	}
	if !inOurCgroup(pid) {
		return false
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for _, entry := range bytes.Split(env, []byte{0}) {
		if string(entry) == "NOTIFY_SOCKET="+notifyPath {
			return true
		}
	}
	return false
}

// inOurCgroup reports whether process pid is in the keeper's cgroup or below it,
// which is how systemd tells the processes of a unit.
func inOurCgroup(pid int) bool {
	ours, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return false
	}
	theirs, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false
	}
	own, their := systemdCgroup(string(ours)), systemdCgroup(string(theirs))
	return own != "" && (their == own || strings.HasPrefix(their, strings.TrimSuffix(own, "/")+"/"))
}

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
