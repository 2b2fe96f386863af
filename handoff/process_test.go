package handoff

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// stat is a line of /proc/PID/stat with the given fields 1 to 6 and 52.
func stat(head, exitCode string) string {
	return head + strings.Repeat(" 0", 45) + " " + exitCode + "\n"
}

func TestStatIsParsedWhateverTheCommandIsCalled(t *testing.T) {
	want := procStat{state: 'S', parent: 1, session: 42, exitCode: 256}
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
