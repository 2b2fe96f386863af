//go:build linux

// World writes what a server can see of its own start, as world.c does, whose keys
// these are. Go catches nearly every signal before main, so status.SigIgn and
// status.SigCgt are left out; and it raises its own soft limit of open files, so
// the limits are those that it passes on to a process that it starts.
package main

import (
	"bytes"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

var statusKeys = strings.Fields(`Umask PPid TracerPid Uid Gid Groups SigBlk CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs
	Seccomp Seccomp_filters Speculation_Store_Bypass THP_enabled Cpus_allowed_list Mems_allowed_list`)

var statKeys = map[int]string{
	4: "parent", 5: "group", 6: "session", 7: "terminal", 19: "nice", 40: "rt_priority", 41: "policy",
}

var report bytes.Buffer

func main() {
	log.SetFlags(0)
	putDescriptors() // first, before package os opens an epoll instance
	putStatus()
	putStat()
	putLimits()
	putProcess()
	putJournal()
	putStrings()
	generation := os.Getenv("FLIPEXEC_GENERATION")
	if generation == "" {
		generation = "0"
	}
	if err := os.WriteFile(os.Getenv("WORLD_REPORT")+"-"+generation, report.Bytes(), 0o666); err != nil {
		log.Fatal(err)
	}
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err == nil {
		_, err = conn.Write([]byte("READY=1"))
	}
	if err != nil {
		log.Fatal(err)
	}
	unix.Pause()
}

func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '\\' {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func put(key string, value any) { fmt.Fprintf(&report, "%s=%s\n", key, escape(fmt.Sprint(value))) }

// slurp is a file of this process without its last newline, "absent" if there is none.
func slurp(name string) string {
	data, err := os.ReadFile("/proc/self/" + name)
	if err != nil {
		return "absent"
	}
	return strings.TrimSuffix(string(data), "\n")
}

func putDescriptors() {
	dir, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		log.Fatal(err)
	}
	var names []string
	buf := make([]byte, 1<<16)
	for n := 1; n > 0; {
		if n, err = unix.ReadDirent(dir, buf); err != nil {
			log.Fatal(err)
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd != dir {
			putDescriptor(fd)
		}
	}
	unix.Close(dir)
}

func putDescriptor(fd int) {
	buf := make([]byte, 4096)
	n, err := unix.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd), buf)
	if err != nil {
		log.Fatal(err)
	}
	link := string(buf[:n])
	if kind, _, ok := strings.Cut(link, ":["); ok && (kind == "socket" || kind == "pipe") {
		link = kind // what follows is the inode number
	}
	flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	onExec, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	text := fmt.Sprintf("%s flags=%o cloexec=%d", link, flags, onExec&unix.FD_CLOEXEC)
	if typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil {
		listening, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		text += fmt.Sprintf(" type=%d listening=%d local=%s", typ, listening, localAddress(fd))
	}
	put("fd."+strconv.Itoa(fd), text)
}

func localAddress(fd int) string {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		log.Fatal(err)
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return fmt.Sprintf("%s:%d", net.IP(a.Addr[:]), a.Port)
	case *unix.SockaddrInet6:
		return fmt.Sprintf("[%s]:%d", net.IP(a.Addr[:]), a.Port)
	case *unix.SockaddrUnix:
		return a.Name
	}
	return fmt.Sprintf("%T", sa)
}

func putStatus() {
	for line := range strings.Lines(slurp("status")) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if slices.Contains(statusKeys, key) {
			put("status."+key, strings.TrimLeft(value, "\t "))
		}
	}
}

func putStat() {
	stat := slurp("stat")
	for i, value := range strings.Fields(stat[strings.LastIndex(stat, ")")+1:]) {
		if key, ok := statKeys[i+3]; ok { // proc_pid_stat(5) counts from 1, and two are before
			put(key, value)
		}
	}
}

func putLimits() {
	out, err := exec.Command("/bin/cat", "/proc/self/limits").Output()
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n")[1:] {
		values := strings.Fields(line[26:])
		put("limit."+strings.TrimRight(line[:26], " "), values[0]+":"+values[1])
	}
}

func putProcess() {
	for _, name := range []string{"cgroup", "comm", "coredump_filter", "loginuid", "oom_score_adj", "personality"} {
		put(name, slurp(name))
	}
	for _, name := range []string{"ns/cgroup", "ns/ipc", "ns/mnt", "ns/net", "ns/pid", "ns/user", "ns/uts", "cwd", "exe"} {
		link, err := os.Readlink("/proc/self/" + name)
		if err != nil {
			log.Fatal(err)
		}
		put(strings.Replace(name, "ns/", "namespace.", 1), link)
	}
	group := slurp("autogroup")
	if _, nice, ok := strings.Cut(group, "nice"); ok {
		group = "nice" + nice
	}
	put("autogroup", group)
	put("pid", os.Getpid())
	for key, option := range map[string]int{
		"dumpable": unix.PR_GET_DUMPABLE, "securebits": unix.PR_GET_SECUREBITS, "timer_slack": unix.PR_GET_TIMERSLACK,
	} {
		value, _ := unix.PrctlRetInt(option, 0, 0, 0, 0)
		put(key, value)
	}
	var signal int32
	if err := unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&signal)), 0, 0, 0); err != nil {
		log.Fatal(err)
	}
	put("parent_death_signal", signal)
	priority, _, _ := unix.Syscall(unix.SYS_IOPRIO_GET, 1, 0, 0)
	put("io_priority", priority)
	keyring, _ := unix.KeyctlString(unix.KEYCTL_DESCRIBE, unix.KEY_SPEC_SESSION_KEYRING)
	put("session_keyring", keyring)
}

// putJournal says whether JOURNAL_STREAM names standard error, systemd.exec(5).
func putJournal() {
	var st unix.Stat_t
	answer := "no"
	if err := unix.Fstat(2, &st); err == nil && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino) {
		answer = "yes"
	}
	put("stderr_is_journal", answer)
}

// putStrings reads what execve(2) was given; package os hides variables that are set twice.
func putStrings() {
	for i, arg := range strings.Split(strings.TrimSuffix(slurp("cmdline"), "\x00"), "\x00") {
		put("arg."+strconv.Itoa(i), arg)
	}
	for _, entry := range strings.Split(strings.TrimSuffix(slurp("environ"), "\x00"), "\x00") {
		fmt.Fprintf(&report, "env.%s\n", escape(entry))
	}
}
