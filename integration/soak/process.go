//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// part is what a process of the unit is.
type part string

const (
	aLauncher part = "launcher"
	aKeeper   part = "keeper"
	aStage    part = "stage"
	aServer   part = "server"
	aStranger part = "stranger"
)

// A process of the unit, held by a pidfd (os.Process): what gets a signal is never
// another one with the same number.
type process struct {
	*os.Process
	pid        int // as the rig numbers it
	part       part
	generation int // of a keeper
	command    string
}

func (p process) String() string { return fmt.Sprintf("%d %s", p.pid, p.command) }

// signal sends sig; a process that has gone is fine.
func (p process) signal(sig syscall.Signal) error {
	if err := p.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %v to %v: %w", sig, p, err)
	}
	return nil
}

func (p process) path(file string) string { return fmt.Sprintf("/proc/%d/%s", p.Pid, file) }

// stopped reports whether the process is stopped by a signal, proc_pid_stat(5).
func (p process) stopped() bool {
	stat, err := os.ReadFile(p.path("stat"))
	if err != nil {
		return false
	}
	after := bytes.TrimLeft(stat[bytes.LastIndexByte(stat, ')')+1:], " ")
	return len(after) > 0 && after[0] == 'T'
}

// processes lists the living processes of the unit. The cgroup's file has the
// numbers of the host, which is where we read it.
func (s *soak) processes() []process {
	text, err := os.ReadFile(s.rig.Path("/sys/fs/cgroup/system.slice/web.service/cgroup.procs"))
	if err != nil {
		return nil // the unit is not running
	}
	var all []process
	for _, field := range strings.Fields(string(text)) {
		host, err := strconv.Atoi(field)
		if err != nil {
			continue
		}
		if p, ok := hold(host); ok {
			all = append(all, p)
		}
	}
	return all
}

// hold opens a process and then looks whether it still is one of the unit.
func hold(host int) (process, bool) {
	handle, err := os.FindProcess(host)
	if err != nil {
		return process{}, false
	}
	p := process{Process: handle}
	cgroup, err := os.ReadFile(p.path("cgroup"))
	if err != nil || !bytes.Contains(cgroup, []byte("/system.slice/web.service\n")) {
		return process{}, false
	}
	command, err := os.ReadFile(p.path("cmdline"))
	if err != nil || len(command) == 0 { // gone, or a zombie
		return process{}, false
	}
	status, err := os.ReadFile(p.path("status"))
	if err != nil {
		return process{}, false
	}
	for line := range strings.Lines(string(status)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			p.pid, _ = strconv.Atoi(lastField(numbers)) // the kernel writes numbers
		}
	}
	p.identify(strings.Split(strings.TrimRight(string(command), "\x00"), "\x00"))
	return p, true
}

func lastField(text string) string {
	all := strings.Fields(text)
	return all[len(all)-1]
}

// identify tells parts by their command lines.
func (p *process) identify(argv []string) {
	p.command = strings.Join(argv, " ")
	switch argv[0] {
	case "/opt/flipexec/flipexec":
		p.part = aLauncher
	case "flipexec-keeper":
		p.part = aKeeper
		if len(argv) > 1 {
			p.generation, _ = strconv.Atoi(argv[1]) // 0 is no generation, and so found out
		}
	case "flipexec-stage":
		p.part = aStage
	case "/opt/flipexec/gohttp":
		p.part = aServer
	default:
		p.part = aStranger
	}
}

// count is how many are of these parts.
func count(all []process, parts ...part) int {
	n := 0
	for _, p := range all {
		if slices.Contains(parts, p.part) {
			n++
		}
	}
	return n
}

// find is the first one that is as asked.
func find(all []process, is func(process) bool) (process, bool) {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], true
	}
	return process{}, false
}

// descriptors lists what the process has open.
func (p process) descriptors() (files []string) {
	all, err := os.ReadDir(p.path("fd"))
	if err != nil {
		return nil
	}
	for _, e := range all {
		if file, err := os.Readlink(p.path("fd/" + e.Name())); err == nil {
			files = append(files, file)
		}
	}
	return files
}
