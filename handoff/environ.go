package handoff

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/flipexec/flipexec/activation"
)

// ownPIDs hold the server's own process ID. Only the stage, which runs in that
// process, can fill them in.
var ownPIDs = []string{activation.EnvPID, "WATCHDOG_PID", "SYSTEMD_EXEC_PID"}

// foreign are variables that systemd made for the launcher and that would lie to
// the server: systemd.exec(5), "Environment variables in spawned processes".
var foreign = []string{
	activation.EnvPID, activation.EnvFDs, activation.EnvNames, activation.EnvPIDFDID,
	"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "MAINPID", "MAINPIDFDID",
	"SYSTEMD_EXEC_PID", "FLIPEXEC_GENERATION", "FLIPEXEC_CONTROL", storeVariable, reportVariable, directoryVariable,
}

// serverEnviron is the environment of a generation's server: that of its
// launcher, less what is foreign, plus what section 6 of the design promises.
func serverEnviron(launcher []string, e estate, notifyPath, store string) []string {
	env := without(launcher, foreign...)
	env = append(env, activation.Environ(e.passed())...)
	env = append(env,
		activation.EnvPID+"=",
		"NOTIFY_SOCKET="+notifyPath,
		"FLIPEXEC_GENERATION="+strconv.Itoa(e.Generation),
		"FLIPEXEC_CONTROL="+controlAddress(e.Control),
		storeVariable+"="+store)
	if e.Watchdog != "" {
		env = append(env, "WATCHDOG_USEC="+e.Watchdog, "WATCHDOG_PID=")
	}
	if has(launcher, "SYSTEMD_EXEC_PID") {
		env = append(env, "SYSTEMD_EXEC_PID=")
	}
	if e.Credentials != "" && value(launcher, "CREDENTIALS_DIRECTORY") == "" {
		// From 255 on ExecReload= lacks the variable, though without
		// mount namespaces the directory is there.
		env = append(env, "CREDENTIALS_DIRECTORY="+e.Credentials)
	}
	return env
}

// fillInPID completes the empty ones of ownPIDs, in place.
func fillInPID(env []string, pid int) {
	for i, entry := range env {
		if name, ok := strings.CutSuffix(entry, "="); ok && slices.Contains(ownPIDs, name) {
			env[i] = entry + strconv.Itoa(pid)
		}
	}
}

// without is a copy of env that lacks the named variables.
func without(env []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(names, name)
	})
}

// value is the value of a variable, "" if it is not set.
func value(env []string, name string) string {
	for _, entry := range env {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			return v
		}
	}
	return ""
}

// has reports whether a variable is set, if only to nothing.
func has(env []string, name string) bool {
	return slices.ContainsFunc(env, func(entry string) bool { return strings.HasPrefix(entry, name+"=") })
}

// watchdog is the WATCHDOG_USEC that is meant for process pid, sd_watchdog_enabled(3).
func watchdog(env []string, pid int) string {
	if p := value(env, "WATCHDOG_PID"); p != "" && p != strconv.Itoa(pid) {
		return ""
	}
	return value(env, "WATCHDOG_USEC")
}

// directoryVariable says where control and notify socket go, before all other rules.
const directoryVariable = "FLIPEXEC_RUNTIME_DIRECTORY"

// runtimeDirectory is the first of RuntimeDirectory=, "" if the unit has none.
func runtimeDirectory(env []string) string {
	for _, name := range []string{directoryVariable, "RUNTIME_DIRECTORY"} {
		if first, _, _ := strings.Cut(value(env, name), ":"); filepath.IsAbs(first) {
			return first
		}
	}
	return ""
}

// bySystemd reports whether systemd itself started process pid: SYSTEMD_EXEC_PID
// exists since version 248, and goes on to other processes, as INVOCATION_ID does.
func bySystemd(env []string, pid int) bool {
	if has(env, "SYSTEMD_EXEC_PID") {
		return value(env, "SYSTEMD_EXEC_PID") == strconv.Itoa(pid)
	}
	return has(env, "INVOCATION_ID")
}
