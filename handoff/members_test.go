package handoff

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeProcess is a process of a table that no kernel made.
type fakeProcess struct {
	parent, session int
	cgroup          string
	environ         []string
}

type fakeTable map[int]fakeProcess

func (t fakeTable) stat(pid int) (procStat, error) {
	p, ok := t[pid]
	if !ok {
		return procStat{}, errors.New("no such process")
	}
	return procStat{state: 'S', parent: p.parent, session: p.session}, nil
}

func (t fakeTable) cgroup(pid int) string    { return t[pid].cgroup }
func (t fakeTable) environ(pid int) []string { return t[pid].environ }

const (
	testUnit = "/system.slice/web.service"
	run1     = "INVOCATION_ID=1"
	run0     = "INVOCATION_ID=0"
	manager  = "NOTIFY_SOCKET=/run/systemd/notify"
	path1    = "NOTIFY_SOCKET=/run/web/flipexec-notify-1"
	path2    = "NOTIFY_SOCKET=/run/web/flipexec-notify-2"
)

// aReload is a unit in the middle of one: launcher, both keepers and both servers,
// of which 200 is generation 2, each with what a server can leave behind.
var aReload = fakeTable{
	1:   {0, 1, "/init.scope", nil},
	100: {1, 100, testUnit, []string{run1, path1}},                 // server 1
	101: {1, 101, testUnit, []string{run1, manager}},               // keeper 1
	102: {100, 100, testUnit, []string{run1, path1}},               // worker of 1
	103: {1, 103, testUnit, []string{run1, path1}},                 // daemon of 1
	150: {1, 150, testUnit + "/.control", []string{run1, manager}}, // launcher
	151: {1, 151, testUnit + "/.control", []string{run1, manager}}, // keeper 2

	200: {1, 200, testUnit + "/.control", []string{run1, path2}},
	201: {200, 200, testUnit, nil},                          // worker
	202: {1, 200, testUnit, nil},                            // worker whose parent is gone
	203: {201, 203, testUnit, nil},                          // worker with a session of its own
	204: {203, 204, testUnit, nil},                          // and its own
	205: {1, 205, testUnit, []string{"A=b", run1, path2}},   // daemon
	206: {205, 206, testUnit, nil},                          // worker of the daemon
	207: {1, 207, testUnit + "/flipexec-2/pool", nil},       // daemon without environment
	208: {207, 208, testUnit, nil},                          // worker of that one
	209: {210, 209, testUnit, nil},                          // in a circle of parents,
	210: {209, 210, testUnit, nil},                          // as two readings may show
	300: {1, 300, testUnit, []string{run0, path2}},          // of an earlier run of the unit
	301: {1, 301, testUnit, []string{path2}},                // of no run
	302: {1, 302, testUnit, []string{run1, path2 + "0"}},    // of generation 20
	303: {1, 303, testUnit, nil},                            // anybody
	304: {200, 304, "/user.slice/session-1.scope", nil},     // a login that the server began
	305: {1, 305, testUnit + "2", []string{run1, path2}},    // of another unit
	306: {1, 200, "/system.slice/other.service", nil},       // moved there, as a manager may
	307: {1, 307, "/../web.service", []string{run1, path2}}, // outside of our cgroup namespace
	308: {1, 308, testUnit + "/flipexec-20", nil},           // of generation 20
	309: {304, 309, "/user.slice/session-1.scope", []string{run1, path2}},
}

// TestProcessInExecveIsLookedAtAgain: it has no environment just then, by which alone
// a daemon is found.
func TestProcessInExecveIsLookedAtAgain(t *testing.T) {
	m := members{notifyPath: "/run/web/flipexec-notify-2", invocation: "1", unit: testUnit}
	executing := procStat{state: 'R', parent: 1, bare: true}
	table := fakeTable{
		1: {1, 1, testUnit, []string{""}},                   // as /proc/PID/environ reads then
		2: {1, 2, testUnit, nil},                            // not to be read
		3: {1, 3, "/user.slice/x", []string{""}},            // not of the unit
		4: {1, 4, testUnit + "/x", []string{run1, manager}}, // that was faster than we
	}
	for pid, want := range map[int]bool{1: true, 2: false, 3: false, 4: true} {
		if got := m.cannotTell(pid, executing, table); got != want {
			t.Errorf("process %d: got %v, want %v", pid, got, want)
		}
	}
	for name, c := range map[string]struct {
		m  members
		st procStat
	}{
		"dead":                         {m, procStat{state: 'Z', parent: 1, bare: true}},
		"with an empty environment":    {m, procStat{state: 'S', parent: 1}},
		"of a generation without path": {members{unit: testUnit}, executing},
	} {
		if c.m.cannotTell(1, c.st, table) {
			t.Errorf("%s: got true, want false", name)
		}
	}
}

func find(m members, t fakeTable) (pids []int) {
	known := map[int]bool{}
	for pid := range t {
		if m.include(pid, t, known) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

func TestMembersAreThoseOfTheGenerationAndNobodyElse(t *testing.T) {
	two := members{
		leaders: []process{{pid: 200, fd: -1}}, notifyPath: "/run/web/flipexec-notify-2", invocation: "1",
		unit: testUnit, cgroup: testUnit + "/flipexec-2",
	}
	without := func(change func(*members)) members {
		m := two
		change(&m)
		return m
	}
	for name, c := range map[string]struct {
		of   members
		want []int
	}{
		"everything known":       {two, []int{200, 201, 202, 203, 204, 205, 206, 207, 208}},
		"no cgroup of its own":   {without(func(m *members) { m.cgroup = "" }), []int{200, 201, 202, 203, 204, 205, 206}},
		"notify path unknown":    {without(func(m *members) { m.notifyPath = "" }), []int{200, 201, 202, 203, 204, 207, 208}},
		"server gone":            {without(func(m *members) { m.leaders = nil }), []int{200, 201, 203, 204, 205, 206, 207, 208}},
		"forked away":            {without(func(m *members) { m.leaders = []process{{pid: 205}} }), []int{200, 201, 203, 204, 205, 206, 207, 208}},
		"unit unknown":           {without(func(m *members) { m.unit, m.cgroup = "", "" }), []int{200, 201, 202, 203, 204, 304, 306, 309}},
		"generation 1":           {members{leaders: []process{{pid: 100}}, notifyPath: "/run/web/flipexec-notify-1", invocation: "1", unit: testUnit}, []int{100, 102, 103}},
		"server outside of unit": {without(func(m *members) { m.leaders = append(m.leaders, process{pid: 304}) }), []int{200, 201, 202, 203, 204, 205, 206, 207, 208, 304}},
		"nobody":                 {members{unit: testUnit}, nil},
	} {
		for range 20 { // a map comes in another order each time
			if got := find(c.of, aReload); !slices.Equal(got, c.want) {
				t.Fatalf("%s: got %v, want %v", name, got, c.want)
			}
		}
	}
}

// startTree starts a shell that leads a session and has a child in a session of
// its own, and returns when both run.
func startTree(t *testing.T) (leader process) {
	t.Helper()
	cmd := exec.Command("setsid", "sh", "-c", "setsid sh -c 'echo; exec sleep 1000' & wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if leader, err = open(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(leader.close)
	return leader
}

func TestKillEndsEveryMember(t *testing.T) {
	checkFDs(t)
	leader := startTree(t)
	m := newMembers(nil, "", "", leader)
	held := m.hold()
	if len(held) != 2 {
		t.Errorf("got %d processes, want the shell and its child", len(held))
	}
	m.kill()
	for _, p := range held {
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, 10_000); n != 1 {
			t.Errorf("process %d still runs: %v", p.pid, err)
		}
		p.close()
	}
	if rest := m.hold(); len(rest) != 0 {
		t.Errorf("got %d processes after the kill, want none", len(rest))
	}
}

func TestNumberThatChangedHandsIsNotHeld(t *testing.T) {
	checkFDs(t)
	st, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := (sighting{os.Getpid(), st.started}).hold(); !ok {
		t.Error("the process itself is not held")
	} else {
		p.close()
	}
	if p, ok := (sighting{os.Getpid(), st.started + "0"}).hold(); ok {
		p.close()
		t.Error("another process of the same number is held")
	}
}

func TestUnitIsFoundInACgroup(t *testing.T) {
	for cgroup, want := range map[string]string{
		testUnit:                     testUnit,
		testUnit + "/.control":       testUnit,
		testUnit + "/flipexec-1/a/b": testUnit,
		"/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/x": "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
		"/user.slice/session-1.scope":                                           "/user.slice/session-1.scope",
		"/docker/0123":                                                          "/docker/0123",
		"/":                                                                     "/",
		"":                                                                      "",
	} {
		if got := unitCgroup(cgroup); got != want {
			t.Errorf("%q: got %q, want %q", cgroup, got, want)
		}
	}
}

func TestCgroupIsThatOfSystemd(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unified":        {"0::/a.service\n", "/a.service"},
		"hybrid":         {"5:cpu:/\n1:name=systemd:/b.service\n0::/b.service\n", "/b.service"},
		"version 1":      {"5:cpu:/\n1:name=systemd:/b.service\n0::/\n", "/b.service"},
		"namespace root": {"0::/\n", ""},
		"nothing":        {"", ""},
	} {
		if got := systemdCgroup(c.text); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestWithinIsBelowAndNotBeside(t *testing.T) {
	for _, c := range []struct {
		cgroup, parent string
		want           bool
	}{
		{"/a", "/a", true}, {"/a/b/c", "/a", true}, {"/ab", "/a", false}, {"/", "/a", false},
		{"/a", "/", true}, {"/../a", "/", false}, {"/..", "/", false}, {"/a", "", false}, {"", "", false}, {"", "/a", false},
	} {
		if got := within(c.cgroup, c.parent); got != c.want {
			t.Errorf("within(%q, %q): got %v", c.cgroup, c.parent, got)
		}
	}
}
