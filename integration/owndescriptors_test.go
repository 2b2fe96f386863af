//go:build linux

package integration

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// lasting is the server of docs/descriptors.md.
const lasting = "/usr/bin/python3 /opt/servers/lasting/server.py"

// lastingUnit keeps descriptors over a crash as well, on this machine's systemd.
func lastingUnit(more ...string) string {
	return strings.Replace(storingUnit("host", "", more...), "/bin/sh /etc/listing", lasting, 1)
}

// A client keeps one connection to the server.
type client struct {
	net.Conn
	lines *bufio.Reader
}

func newClient(t *testing.T, r *rig.Rig) *client {
	t.Helper()
	c, err := r.Dial(t.Context(), "tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{Conn: c, lines: bufio.NewReader(c)}
}

// ask wants the next answer, and returns its number and the generation that gave it.
func (c *client) ask(t *testing.T) (n, generation int) {
	t.Helper()
	n, generation, err := c.try()
	if err != nil {
		t.Fatal(err)
	}
	return n, generation
}

func (c *client) try() (n, generation int, err error) {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, 0, err
	}
	if _, err := c.Write([]byte("?")); err != nil {
		return 0, 0, err
	}
	line, err := c.lines.ReadString('\n')
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscanf(line, "%d generation %d\n", &n, &generation); err != nil {
		return 0, 0, fmt.Errorf("%q: %w", line, err)
	}
	return n, generation, nil
}

// askDuring asks all the time while do does something. Each must be answered, and counted
// once, whoever it is that answers.
func (c *client) askDuring(t *testing.T, last int, do func()) int {
	t.Helper()
	stop, outcome, begin := make(chan struct{}), make(chan error, 1), last
	go func() {
		for {
			select {
			case <-stop:
				outcome <- nil
				return
			default:
			}
			n, _, err := c.try()
			if err == nil && n != last+1 {
				err = fmt.Errorf("got answer %d, want %d", n, last+1)
			}
			if err != nil {
				outcome <- err
				return
			}
			last = n
		}
	}()
	do()
	close(stop)
	if err := <-outcome; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d answers meanwhile", last-begin)
	return last
}

// askOnly asks when no other generation is left. No answer may be missing from the count.
func (c *client) askOnly(t *testing.T, r *rig.Rig, last, generation int) int {
	t.Helper()
	awaitOneGeneration(t, r)
	n, by := c.ask(t)
	if n != last+1 || by != generation {
		t.Fatalf("got answer %d of generation %d, want %d of %d", n, by, last+1, generation)
	}
	return n
}

// TestConnectionAndStateGoToTheNextGeneration, as docs/descriptors.md has it: through
// reloads, and with systemd's store through crashes and restarts.
func TestConnectionAndStateGoToTheNextGeneration(t *testing.T) {
	t.Parallel()
	r := bootStoring(t, "host")
	install(t, r, lastingUnit())
	must(t, r, "start", "web")
	c, n := newClient(t, r), 0
	n = c.askOnly(t, r, n, 1)
	for generation := 2; generation <= 10; generation++ {
		n = c.askDuring(t, n, func() { must(t, r, "reload", "web") })
		n = c.askOnly(t, r, n, generation)
	}
	for i, command := range []string{"restart", "kill --signal=KILL", "reload", "kill --signal=KILL"} {
		started := show(r, "ExecMainStartTimestampMonotonic")
		must(t, r, append(strings.Fields(command), "web")...)
		rig.WaitFor(t, command, 10*time.Second, func() bool {
			return show(r, "ExecMainStartTimestampMonotonic") != started && show(r, "SubState") == "running"
		})
		awaitLauncher(t, r)
		n = c.askOnly(t, r, n, []int{1, 1, 2, 1}[i])
	}
	must(t, r, "reload", "web")
	n = c.askOnly(t, r, n, 2)

	// A client that leaves takes its descriptors with it.
	before := settled(t, r)
	c.Close()
	rig.WaitFor(t, "the keeper has dropped the connection", 10*time.Second, func() bool { return descriptors(t, r) == before-1 })
	must(t, r, "reload", "web")
	awaitOneGeneration(t, r)
	if names := serverNames(t, r); names != "http:state" {
		t.Errorf("LISTEN_FDNAMES: got %q, want %q", names, "http:state")
	}
	must(t, r, "restart", "web")
	if names := serverNames(t, r); names != "http:state" {
		t.Errorf("LISTEN_FDNAMES after a restart: got %q, want %q", names, "http:state")
	}
	if got, _ := newClient(t, r).ask(t); got != n+1 {
		t.Errorf("got answer %d, want %d", got, n+1)
	}
}

// serverNames are the names of what the server has inherited.
func serverNames(t *testing.T, r *rig.Rig) string {
	t.Helper()
	return inRig(t, r, fmt.Sprintf("tr '\\0' '\\n' </proc/%d/environ | sed -n s/^LISTEN_FDNAMES=//p", mainPID(t, r)))
}

// TestConnectionGoesOnWithoutSystemd: the keeper is enough.
func TestConnectionGoesOnWithoutSystemd(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, strings.NewReplacer("Type=notify\n", "Type=simple\n", "NotifyAccess=exec\n", "KillMode=mixed\n").Replace(unitText(lasting)))
	must(t, r, "start", "web")
	rig.WaitFor(t, "the server serves", 20*time.Second, func() bool { return len(processes(t, r)) == 3 && keepers(t, r) == 1 })
	awaitLauncher(t, r)
	c, n := newClient(t, r), 0
	for generation := 1; generation <= 5; generation++ {
		n = c.askOnly(t, r, n, generation)
		n = c.askDuring(t, n, func() { must(t, r, "reload", "web") })
	}
}

// TestFailedReloadLeavesTheServersDescriptors with the running generation, and they go to
// the next one that works.
func TestFailedReloadLeavesTheServersDescriptors(t *testing.T) {
	t.Parallel()
	r := bootStoring(t, "host")
	text := lastingUnit()
	install(t, r, text)
	must(t, r, "start", "web")
	c := newClient(t, r)
	n, _ := c.ask(t)
	before := settled(t, r)
	install(t, r, strings.Replace(text, "flipexec reload", "flipexec reload -- /bin/false", 1))
	if _, err := r.Systemctl("reload", "web"); err == nil {
		t.Error("/bin/false passes for a server")
	}
	rig.WaitFor(t, "the keeper has what it had", 10*time.Second, func() bool { return descriptors(t, r) == before })
	n = c.askOnly(t, r, n, 1)
	install(t, r, text)
	must(t, r, "reload", "web")
	c.askOnly(t, r, n, 2)
}

// wellStored is a server with descriptors of its own, of which some can be read all the time.
const wellStored = `import os, socket
a, b = socket.socketpair()
b.send(b"to be read")
listener = socket.create_server(("127.0.0.1", 0))
for text, fd in (("FDSTORE=1\nFDNAME=a", a), ("FDSTORE=1\nFDNAME=b", b), ("FDSTORE=1\nFDNAME=l", listener), ("FDSTORE=1\nFDNAME=m", os.memfd_create("m"))):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(os.environ["FLIPEXEC_STORE"])
        socket.send_fds(s, [text.encode()], [fd if isinstance(fd, int) else fd.fileno()])
os.environ["LISTEN_FDS"] = "1"
os.execv("/opt/flipexec/gohttp", ["gohttp"])
`

// TestIdleKeeperOfDescriptorsNeverWakes: there is something to be read, and it is not the
// keeper's to read.
func TestIdleKeeperOfDescriptorsNeverWakes(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	writeFile(t, r, "/etc/stored.py", wellStored)
	install(t, r, unitText("/usr/bin/python3 /etc/stored.py"))
	must(t, r, "start", "web")
	must(t, r, "reload", "web")
	checkAgreement(t, r)
	awaitOneGeneration(t, r)
	if names := serverNames(t, r); names != "http:a:b:l:m" {
		t.Fatalf("LISTEN_FDNAMES: got %q", names)
	}
	checkIdle(t, r, keeperPID(t, r))
}

// TestStoreBelievesOnlyItsGeneration: invariant I9, at the second address.
func TestStoreBelievesOnlyItsGeneration(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	const path = "/run/web/flipexec-store-1"
	if got := inRig(t, r, "stat -c %a "+path); got != "666" {
		t.Errorf("mode: got %s, want 666", got) // a server may have changed its user
	}
	writeFile(t, r, "/etc/lie.py", `import os, socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.connect("`+path+`")
    socket.send_fds(s, [b"FDSTORE=1\nFDNAME=lie"], [0])
`)
	before := settled(t, r)
	const lie = "python3 /etc/lie.py"
	if out, err := r.RunAs("rig", 1000, "env", "FLIPEXEC_STORE="+path, "sh", "-c", lie); err != nil {
		t.Fatal(err, out)
	}
	inRig(t, r, lie)
	rig.WaitFor(t, "the keeper has complained", 10*time.Second, func() bool {
		return strings.Contains(r.Journal("web.service"), "uid 0, which is not of this generation")
	})
	checkLines(t, r, "uid 1000, which is not of this generation", 1)
	if got := descriptors(t, r); got != before {
		t.Errorf("descriptors: got %d, want %d", got, before)
	}
	must(t, r, "stop", "web")
	if left, err := filepath.Glob(r.Path("/run/web/*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// TestStoreOfSystemdIsNoWayToTheNextGeneration: what makes the second address necessary.
// ExecReload= is given none of what the main process has stored, and a keeper, which is
// neither that nor the control process, can store nothing.
func TestStoreOfSystemdIsNoWayToTheNextGeneration(t *testing.T) {
	t.Parallel()
	for _, suite := range storeSuites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := boot(t, suite)
			install(t, r, `[Service]
Type=notify
NotifyAccess=exec
FileDescriptorStoreMax=8
ExecStart=/opt/flipexec/storer
ExecReload=/bin/sh -c 'env >/run/reload.env; ls /proc/self/fd >/run/reload.fds'
`)
			must(t, r, "start", "web")
			must(t, r, "reload", "web")
			env, err := os.ReadFile(r.Path("/run/reload.env"))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(env), "LISTEN_") || !strings.Contains(string(env), "NOTIFY_SOCKET=") {
				t.Errorf("ExecReload= has the environment\n%s", env)
			}
			if fds := inRig(t, r, "cat /run/reload.fds | tr '\\n' ' '"); fds != "0 1 2 3" { // the last is that of ls
				t.Errorf("ExecReload= has descriptors %s", fds)
			}
			must(t, r, "restart", "web")
			if got := serverNames(t, r); got != "main" {
				t.Errorf("the next run has descriptors %q, want those of the main process", got)
			}
		})
	}
}
