package handoff

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stat is a line of /proc/PID/stat with the given fields 1 to 6 and 52; field 22 is 7
// and field 50 is 9.
func stat(head, exitCode string) string { return statOf(head, "7", "9", exitCode) }

func statOf(head, started, envStart, exitCode string) string {
	return head + strings.Repeat(" 0", 15) + " " + started + strings.Repeat(" 0", 27) + " " + envStart + " 0 " + exitCode + "\n"
}

func TestStatIsParsedWhateverTheCommandIsCalled(t *testing.T) {
	want := procStat{state: 'S', parent: 1, session: 42, started: "7", exitCode: 256}
	for _, command := range []string{"server", "my server", "a) S 7 7", ")", "((", "a\n(b) R 2 3 4", ""} {
		got, err := parseStat([]byte(stat("42 ("+command+") S 1 41 42", "256")))
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", command, got, err, want)
		}
	}
}

func TestStatOfAnotherShapeIsAnError(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing":          {"", "too few fields"},
		"no command":       {"42", "too few fields"},
		"cut off":          {"42 (server) S 1 41 42 0", "too few fields"},
		"parent no number": {stat("42 (server) S x 41 42", "0"), "stat: "},
		"exit no number":   {stat("42 (server) S 1 41 42", "x"), "stat: "},
	} {
		_, err := parseStat([]byte(c.text))
		checkError(t, name, err, c.want)
	}
}

func TestStatIsThatOfTheKernel(t *testing.T) {
	st, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	session, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	if st.parent != os.Getppid() || st.session != session {
		t.Errorf("got parent %d, session %d, want %d, %d", st.parent, st.session, os.Getppid(), session)
	}
	if st.bare {
		t.Error("we have an environment")
	}
	p := hold(t, exec.Command("/bin/true"))
	if st, err = readStat(p.pid); err != nil || !st.bare {
		t.Errorf("dead process: got %+v, %v, want no environment", st, err)
	}
}

func TestWaitStatusIsSaidInWords(t *testing.T) {
	for ws, want := range map[unix.WaitStatus]string{
		0: "exited with status 0", 3 << 8: "exited with status 3", 9: "killed by signal KILL", 11 | 0x80: "killed by signal SEGV",
	} {
		if got := describeStatus(ws); got != want {
			t.Errorf("%#x: got %q, want %q", int(ws), got, want)
		}
	}
}

func TestReadOnlyMappingsOfTheProgramAreFound(t *testing.T) {
	const file = "/usr/bin/flipexec"
	for name, c := range map[string]struct {
		line string
		ok   bool
	}{
		"text":              {"00400000-00563000 r-xp 00000000 fe:00 1234                               /usr/bin/flipexec", true},
		"read-only data":    {"00563000-0065c000 r--p 00163000 fe:00 1234                               /usr/bin/flipexec", true},
		"data":              {"0065c000-00672000 rw-p 0025c000 fe:00 1234                               /usr/bin/flipexec", false},
		"another file":      {"00400000-00563000 r-xp 00000000 fe:00 1234                               /opt/usr/bin/flipexec", false},
		"a deleted file":    {"00400000-00563000 r-xp 00000000 fe:00 1234                               /usr/bin/flipexec (deleted)", false},
		"no file":           {"c000000000-c000400000 rw-p 00000000 00:00 0 ", false},
		"a kernel's":        {"7ffc7a5f0000-7ffc7a5f2000 r-xp 00000000 00:00 0                          [vdso]", false},
		"nothing":           {"", false},
		"half a mode":       {"00400000-00563000 r /usr/bin/flipexec", false},
		"backwards":         {"00563000-00400000 r-xp 00000000 fe:00 1234                               /usr/bin/flipexec", false},
		"no mapping at all": {"flipexec /usr/bin/flipexec", false},
	} {
		from, to, ok := readOnlyMapping(c.line, file)
		if ok != c.ok {
			t.Errorf("%s: got %v, want %v", name, ok, c.ok)
		}
		if ok && (from == 0 || to <= from) {
			t.Errorf("%s: got %#x-%#x", name, from, to)
		}
	}
	if from, to, ok := readOnlyMapping("00400000-00563000 r-xp 00000000 fe:00 1234    /usr/bin/flipexec", file); !ok || from != 0x400000 || to != 0x563000 {
		t.Errorf("got %#x-%#x, %v, want 0x400000-0x563000", from, to, ok)
	}
}

// FuzzParseStat: a command cannot pass for what stands behind it, and what is read
// from any other line is read again when it is printed. Invariant I10.
func FuzzParseStat(f *testing.F) {
	f.Add([]byte("server"))
	f.Add([]byte("a) S 7 7"))
	f.Add([]byte(stat("42 (a b) Z 1 41 42", "-9")))
	f.Add([]byte(stat("42 (a b) S 1 41 x", "0")))
	f.Add([]byte("42 (server) S 1 41 42 0"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		want := procStat{state: 'S', parent: 1, session: 42, started: "7", exitCode: 256}
		if got, err := parseStat([]byte(stat("42 ("+string(data)+") S 1 41 42", "256"))); err != nil || got != want {
			t.Fatalf("command %q: got %+v, %v, want %+v", data, got, err, want)
		}
		st, err := parseStat(data)
		if err != nil {
			if !oneLine(err) {
				t.Fatalf("%q: the error is %q", data, err)
			}
			return
		}
		head, envStart := fmt.Sprintf("1 (x) %s %d 0 %d", []byte{st.state}, st.parent, st.session), "1"
		if st.bare {
			envStart = "0"
		}
		if again, err := parseStat([]byte(statOf(head, st.started, envStart, strconv.Itoa(st.exitCode)))); err != nil || again != st {
			t.Fatalf("%q is %+v, and then %+v, %v", data, st, again, err)
		}
	})
}

// FuzzReadOnlyMapping: only a range that is one, of a mapping that cannot be
// written, is ever let go of; and it is the one in the line. Invariant I10.
func FuzzReadOnlyMapping(f *testing.F) {
	f.Add("00400000-00563000 r-xp 00000000 fe:00 1234                               /usr/bin/flipexec", "/usr/bin/flipexec")
	f.Add("0065c000-00672000 rw-p 0025c000 fe:00 1234                               /usr/bin/flipexec", "/usr/bin/flipexec")
	f.Add("00563000-00400000 r-xp 0 0 0 a", "a")
	f.Add("1-2 r a", "a")
	f.Add("ffffffffffffffff-10000000000000000 r--p a", "a")
	f.Fuzz(func(t *testing.T, line, file string) {
		from, to, ok := readOnlyMapping(line, file)
		if !ok {
			return
		}
		if from >= to || !strings.HasSuffix(line, file) {
			t.Fatalf("%q: got %#x-%#x", line, from, to)
		}
		for mode, want := range map[string]bool{"r-xp": true, "r--p": true, "rw-p": false, "-w-p": false} {
			text := fmt.Sprintf("%08x-%08x %s 00000000 fe:00 1234    %s", from, to, mode, file)
			if from2, to2, ok := readOnlyMapping(text, file); ok != want || ok && (from2 != from || to2 != to) {
				t.Fatalf("%q is %#x-%#x, and then %#x-%#x, %v", line, from, to, from2, to2, ok)
			}
		}
	})
}

func TestCgroupIsThatOfSystemdsHierarchy(t *testing.T) {
	for cgroups, want := range map[string]string{
		"":                               "",
		"0::/system.slice/web.service\n": "/system.slice/web.service",
		"2:cpu:/\n1:name=systemd:/system.slice/web.service\n0::/\n": "/system.slice/web.service",
		"1:name=systemd:/a:b\n":                      "/a:b",
		"2:cpu:/x:name=systemd:/web.service\n0::/\n": "",
		"1:name=other:/web.service\n":                "",
	} {
		if got := systemdCgroup(cgroups); got != want {
			t.Errorf("%q: got %q, want %q", cgroups, got, want)
		}
	}
}

// FuzzCgroups: a unit and a cgroup are found again when they are printed, and no
// name that somebody gave to a cgroup passes for more than a name. Invariant I10.
func FuzzCgroups(f *testing.F) {
	f.Add("0::/system.slice/web.service/.control\n")
	f.Add("12:cpu:/\n1:name=systemd:/system.slice/web.service\n0::/\n")
	f.Add("0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service")
	f.Add("a:name=systemd:/system.slice/web.service")
	f.Add(":name=systemd:")
	f.Add("0::")
	f.Fuzz(func(t *testing.T, text string) {
		unit := parseUnit(text)
		if again := parseUnit("0::/system.slice/" + unit + "\n"); again != unit || strings.ContainsAny(unit, "/\n") {
			t.Fatalf("%q is of unit %q, and then %q", text, unit, again)
		}
		cgroup := systemdCgroup(text)
		if again := systemdCgroup("1:name=systemd:" + cgroup + "\n"); again != cgroup || strings.Contains(cgroup, "\n") {
			t.Fatalf("%q is in cgroup %q, and then %q", text, cgroup, again)
		}
		path, _, _ := strings.Cut(text, "\n")
		if got := systemdCgroup("5:cpu:/" + path); got != "" {
			t.Fatalf("the path %q passes for cgroup %q", path, got)
		}
		if got, want := systemdCgroup("0::/a"+path), "/a"+path; got != want {
			t.Fatalf("got cgroup %q, want %q", got, want)
		}
	})
}

// TestStatusOfAZombieIsKnown: its parent may be late, or never look.
func TestStatusOfAZombieIsKnown(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "exit 3")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	p.awaitExit(time.Now().Add(patience))
	if got, want := p.fate(), "exited with status 3"; got != want {
		t.Errorf("before it is reaped: got %q, want %q", got, want)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("exit status 0")
	}
}
