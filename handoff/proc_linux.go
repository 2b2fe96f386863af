package handoff

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// procStat is what we need of /proc/PID/stat, proc_pid_stat(5).
type procStat struct {
	state    byte
	parent   int
	session  int
	started  string // with the process ID it names a process once and for all
	exitCode int    // a wait status; 0 where ptrace access is denied
	bare     bool   // it has no environment, not even an empty one; true where ptrace access is denied
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
	const state, ppid, session, startTime, envStart, exitCode = 0, 1, 3, 19, 47, 49 // fields 3, 4, 6, 22, 50 and 52 of the manual
	if len(fields) <= exitCode {
		return st, errors.New("stat: too few fields")
	}
	st.state, st.started, st.bare = fields[state][0], fields[startTime], fields[envStart] == "0"
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

// A table says of a process what makes it a member of a generation.
type table interface {
	stat(pid int) (procStat, error)
	cgroup(pid int) string    // in the hierarchy of systemd, "" if unknown
	environ(pid int) []string // as it was at its last execve(2), nil if unknown
}

// proc is the kernel's table.
type proc struct{}

func (proc) stat(pid int) (procStat, error) { return readStat(pid) }

func (proc) cgroup(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return ""
	}
	return systemdCgroup(string(data))
}

func (proc) environ(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return nil
	}
	return strings.Split(string(data), "\x00")
}

// listProcesses lists the processes of the system. Those of another user that
// ProtectProc= hides are not found; those of our own always are.
func listProcesses() (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
