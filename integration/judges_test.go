//go:build linux

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/flipexec/flipexec/integration/rig"
	"golang.org/x/sys/unix"
)

// judgeSuites have what the judges need. The first is the oldest: a program that was
// linked to its libsystemd runs with that of each.
var judgeSuites = []string{
	"bookworm+libsystemd-dev+nodejs+python3-systemd",
	"trixie+libsystemd-dev+nodejs+python3-systemd",
	"forky+libsystemd-dev+nodejs+python3-systemd",
}

// judges are who reads what a server was passed, in the order in which they become each
// other. The last one stays; see folder judges.
var judges = []string{"libsystemd", "python-systemd", "go-systemd", "node"}

// judgeReports is the first argument of each judge.
const judgeReports = "/run/judge"

const judgeCommand = "/opt/flipexec/judge " + judgeReports +
	" /usr/bin/python3 /opt/flipexec/judge.py " + judgeReports +
	" /opt/flipexec/gojudge " + judgeReports +
	" /usr/bin/node /opt/flipexec/judge.js " + judgeReports

// buildJudges makes them, once: others may be running them.
var buildJudges = sync.OnceValue(func() error {
	if err := rig.EnsureRoots(judgeSuites...); err != nil {
		return err
	}
	arch, err := exec.Command("cc", "-print-multiarch").Output()
	if err != nil {
		return fmt.Errorf("cc -print-multiarch: %w", err)
	}
	root := rig.RootDir(judgeSuites[0])
	lib := filepath.Join(root, "usr/lib", strings.TrimSpace(string(arch)))
	for _, cmd := range []*exec.Cmd{
		exec.Command("cc", "-Wall", "-Wextra", "-Werror", "-O1", "-idirafter", filepath.Join(root, "usr/include"),
			"-o", filepath.Join(programs, "judge"), "judges/judge.c", "-L"+lib, "-lsystemd", "-Wl,-rpath-link="+lib),
		exec.Command("cp", "judges/judge.py", "judges/judge.js", programs),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", cmd, err, out)
		}
	}
	return nil
})

// A combination is one way for a server to come by its sockets.
type combination struct {
	name    string
	options []string // of flipexec, or as a unit has them
	sockets []string // [Socket] of web.socket, of web1.socket, ...
	stored  bool     // the manager has a file of the server's
	exec    bool     // by flipexec exec: there are no generations
	plain   bool     // without flipexec, as a control

	want      []string // "KIND ADDRESS NAME" of each
	unordered bool     // generation 1 has them in any order
}

const (
	webSocket = "ListenStream=80\nFileDescriptorName=http"
	webTCP    = "tcp [::]:80 http"
)

// everyKind is one of each. A kernel may have no vsock; and that knows no network
// namespaces, so that each rig has a port of its own.
func everyKind(rig int) combination {
	c := combination{
		name: "every kind",
		options: []string{"http=tcp::80", "tcp4:127.0.0.1:81", "six=tcp6:[::1]:82", "dns=udp::53", "dns4=udp4:127.0.0.1:54",
			"dns6=udp6:[::1]:55", "app=unix:/run/web/app", "hidden=unix:@hidden", "log=unixgram:/run/web/log", "packet=unixpacket:/run/web/packet",
			"pipe=fifo:/run/web/pipe", "events=netlink:kobject-uevent:1", "zero=special:/dev/zero"},
		want: []string{"tcp [::]:80 http", "tcp 127.0.0.1:81 unknown", "tcp [::1]:82 six", "udp [::]:53 dns", "udp 127.0.0.1:54 dns4",
			"udp [::1]:55 dns6", "unix /run/web/app app", "unix @hidden hidden", "unixgram /run/web/log log", "unixpacket /run/web/packet packet",
			"fifo - pipe", "netlink - events", "special - zero"},
	}
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return c
	}
	unix.Close(fd)
	port := 1<<20 + os.Getpid()*len(judgeSuites) + rig
	c.options = append(c.options, fmt.Sprintf("guest=vsock::%d", port))
	c.want = append(c.want, fmt.Sprintf("vsock %d:%d guest", uint32(unix.VMADDR_CID_ANY), port))
	return c
}

var combinations = []combination{
	{name: "one without a name", options: []string{"tcp::80"}, want: []string{"tcp [::]:80 unknown"}},
	{name: "names with blanks", options: []string{`"a  b=tcp::80"`, `"~!/%%=tcp::81"`}, want: []string{"tcp [::]:80 a  b", "tcp [::]:81 ~!/%"}},
	{name: "a .socket unit", sockets: []string{webSocket}, want: []string{webTCP}},
	{name: "a .socket unit without flipexec", plain: true, sockets: []string{webSocket}, want: []string{webTCP}},
	{name: "no FileDescriptorName=", sockets: []string{"ListenStream=80"}, want: []string{"tcp [::]:80 web.socket"}},
	{
		name:    "a name with = in a .socket unit of every kind",
		sockets: []string{"ListenStream=80\nListenDatagram=80\nListenSequentialPacket=/run/packet\nListenFIFO=/run/pipe\nListenStream=@hidden\nFileDescriptorName=x = y=z"},
		want:    []string{"tcp [::]:80 x = y=z", "udp [::]:80 x = y=z", "unixpacket /run/packet x = y=z", "fifo - x = y=z", "unix @hidden x = y=z"},
	},
	{
		name:      "two .socket units",
		sockets:   []string{webSocket, "ListenStream=81\nListenDatagram=81\nFileDescriptorName=more"},
		want:      []string{webTCP, "tcp [::]:81 more", "udp [::]:81 more"},
		unordered: true, // sd_listen_fds(3)
	},
	{
		name: "an option and a .socket unit", options: []string{"x=tcp::81"}, sockets: []string{webSocket},
		want: []string{"tcp [::]:81 x", webTCP},
	},
	{
		name: "a .socket unit that an option names first", options: []string{"http=tcp::80", "x=tcp::81"}, sockets: []string{webSocket},
		want: []string{webTCP, "tcp [::]:81 x"},
	},
	{
		name: "a .socket unit that an option gives another name", options: []string{"x=tcp::81", "y=tcp::80"}, sockets: []string{webSocket},
		want: []string{"tcp [::]:81 x", "tcp [::]:80 y"},
	},
	{
		name: "a stored file", stored: true, options: []string{"x=tcp::81"}, sockets: []string{webSocket},
		want: []string{"tcp [::]:81 x", webTCP, "special - state of mine"},
	},
	{name: "exec", exec: true, options: []string{`"a b=tcp::82"`}, sockets: []string{webSocket}, want: []string{"tcp [::]:82 a b", webTCP}},
}

// unit is web.service. Without flipexec's keeper it is the manager that has to believe
// systemd-notify, which is no main process.
func (c combination) unit() string {
	access, start := "NotifyAccess=exec", "/opt/flipexec/flipexec"
	if c.exec {
		start += " exec"
	}
	for _, o := range c.options {
		start += " --listen " + o
	}
	start += " -- " + judgeCommand
	if c.plain {
		start = judgeCommand
	}
	if c.plain || c.exec {
		access = "NotifyAccess=all"
	}
	store := ""
	if c.stored {
		store = "FileDescriptorStoreMax=9\nExecStartPost=/opt/flipexec/judge --store \"state of mine\"\n"
	}
	return fmt.Sprintf("[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\n%s\nRuntimeDirectory=web\nExecStart=%s\nExecReload=/opt/flipexec/flipexec reload\n%s",
		access, start, store)
}

// socketUnits are the names of its .socket units.
func (c combination) socketUnits() (names []string) {
	for i := range c.sockets {
		name := "web.socket"
		if i > 0 {
			name = fmt.Sprintf("web%d.socket", i)
		}
		names = append(names, name)
	}
	return names
}

// A passed is a descriptor as a judge sees it; "-" is what it cannot tell.
type passed struct {
	fd                  int
	kind, address, name string
}

// agrees reports whether p is the descriptor that another one describes in full.
func (p passed) agrees(full passed) bool {
	for _, s := range []struct {
		is   *string
		full string
	}{{&p.kind, full.kind}, {&p.address, full.address}} {
		if *s.is == "-" {
			*s.is = s.full
		}
	}
	return p == full
}

// declared are what the server is to find.
func (c combination) declared(t *testing.T) (all []passed) {
	t.Helper()
	for i, line := range c.want {
		all = append(all, parsePassed(t, fmt.Sprintf("%d %s", 3+i, line)))
	}
	return all
}

func parsePassed(t *testing.T, line string) passed {
	t.Helper()
	parts := strings.SplitN(line, " ", 4)
	if len(parts) != 4 {
		t.Fatalf("descriptor %q", line)
	}
	fd, err := strconv.Atoi(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	return passed{fd, parts[1], parts[2], parts[3]}
}

// takeVerdict reads what a judge says of a generation, "0" without one.
func takeVerdict(t *testing.T, r *rig.Rig, generation int, judge string) (all []passed) {
	t.Helper()
	path := r.Path(fmt.Sprintf("%s-%d-%s", judgeReports, generation, judge))
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	count, lines, _ := strings.Cut(string(data), "\n")
	for line := range strings.Lines(lines) {
		all = append(all, parsePassed(t, strings.TrimSuffix(line, "\n")))
	}
	if count != strconv.Itoa(len(all)) {
		t.Errorf("generation %d, %s: got %s descriptors, and describes %d", generation, judge, count, len(all))
	}
	return all
}

// checkVerdicts wants all judges to agree with what was declared.
func checkVerdicts(t *testing.T, r *rig.Rig, generation int, want []passed) {
	t.Helper()
	for _, judge := range judges {
		got := takeVerdict(t, r, generation, judge)
		if !slices.EqualFunc(got, want, passed.agrees) {
			t.Errorf("generation %d, %s:\ngot  %v\nwant %v", generation, judge, got, want)
		}
	}
}

// inOrder is want in the order that the first judge has found.
func inOrder(t *testing.T, r *rig.Rig, want []passed) []passed {
	t.Helper()
	data, err := os.ReadFile(r.Path(judgeReports + "-1-" + judges[0]))
	if err != nil {
		t.Fatal(err)
	}
	place := func(p passed) int {
		return strings.Index(string(data), fmt.Sprintf(" %s %s %s\n", p.kind, p.address, p.name))
	}
	slices.SortStableFunc(want, func(p, q passed) int { return place(p) - place(q) })
	for i := range want {
		want[i].fd = 3 + i
	}
	return want
}

// TestJudgesAgree: systemd's own library, those of Python and Go and code that reads the
// protocol by hand find the same number of descriptors, in the order and under the names
// that were declared, at a start and after reloads. The library is that of each version of
// systemd, which since 259 looks at LISTEN_PIDFDID as well.
func TestJudgesAgree(t *testing.T) {
	t.Parallel()
	if err := buildJudges(); err != nil {
		t.Fatal(err)
	}
	for i, suite := range judgeSuites {
		name, _, _ := strings.Cut(suite, "+")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := boot(t, suite)
			for _, c := range append(combinations, everyKind(i)) {
				t.Run(c.name, func(t *testing.T) { c.check(t, r) })
			}
		})
	}
}

func (c combination) check(t *testing.T, r *rig.Rig) {
	units := append(c.socketUnits(), "web.service")
	for i, text := range c.sockets {
		if err := r.WriteUnit(units[i], "[Socket]\nService=web.service\n"+text+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.WriteUnit("web.service", c.unit()); err != nil {
		t.Fatal(err)
	}
	must(t, r, "daemon-reload")
	defer func() {
		must(t, r, append([]string{"stop"}, units...)...)
		for _, name := range c.socketUnits() {
			if err := os.Remove(r.Path("/etc/systemd/system/" + name)); err != nil {
				t.Error(err)
			}
		}
	}()
	for _, name := range c.socketUnits() {
		must(t, r, "start", name)
	}
	must(t, r, "start", "web")
	if c.stored { // what ExecStartPost= has stored comes with the next start
		must(t, r, "restart", "web")
	}
	want := c.declared(t)
	if c.exec || c.plain {
		checkVerdicts(t, r, 0, want)
		return
	}
	if c.unordered {
		want = inOrder(t, r, want)
	}
	checkVerdicts(t, r, 1, want)
	for generation := 2; generation <= 3; generation++ {
		must(t, r, "reload", "web")
		checkVerdicts(t, r, generation, want)
	}
}
