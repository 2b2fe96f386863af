//go:build linux

package integration

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// executed is made by the server of the tests that must not get as far.
const executed = "/run/executed"

// badStart is a unit that must not start. Its server is touch(1), which would
// leave executed behind.
type badStart struct {
	name    string
	options string // of flipexec
	command string // the whole ExecStart= if options are not enough
	lines   string // more for [Service]
	status  int
	want    string // in the one line that flipexec prints
}

var badStarts = []badStart{
	{"unknown network", "--listen sctp::80", "", "", 2, `--listen "sctp::80": unknown network "sctp"`},
	{"missing address", "--listen http=tcp:", "", "", 2, `--listen "http=tcp:": missing address`},
	{"port out of range", "--listen tcp::65536", "", "", 2, `--listen "tcp::65536": port "65536"; hint: a number from 0 to 65535`},
	{"name with a colon", "--listen a:b=tcp::80", "", "", 2, `--listen "a:b=tcp::80": name "a:b": ':' is not allowed`},
	{"long name", "--listen " + strings.Repeat("n", 256) + "=tcp::80", "", "", 2, "name of 256 bytes; hint: at most 255"},
	{"duplicate name", "--listen a=tcp::82 --listen a=tcp::83", "", "", 2, `duplicate name "a"`},
	{"bad variable", "", "", "Environment=FLIPEXEC_LISTEN=sctp::80", 2, `FLIPEXEC_LISTEN="sctp::80": unknown network "sctp"`},
	{"long path", "--listen unix:/run/" + strings.Repeat("p", 103), "", "", 2, "path of 108 bytes; hint: unix(7) allows 107"},
	{"no command", "", "/opt/flipexec/flipexec --listen tcp::80", "", 2, "no command; hint: flipexec [options] -- command"},
	{"address in use", "--listen tcp::81", "", "", 1, "listen tcp::81: address already in use"},
	{"port 80 without privileges", "--listen tcp::80", "", "User=rig", 1,
		"listen tcp::80: permission denied; hint: a port below 1024 needs AmbientCapabilities=CAP_NET_BIND_SERVICE"},
	{"path in a missing directory", "--listen unix:/nowhere/s", "", "", 1, "listen unix:/nowhere/s: no such file or directory"},
	{"regular file at the path", "--listen unix:/srv/precious", "", "", 1, "listen unix:/srv/precious: the file at this path is no socket and stays"},
	{"live socket of somebody else", "--listen unix:/srv/live", "", "", 1, "listen unix:/srv/live: another process listens here"},
	{"second of two sockets", "--listen unix:/srv/new --listen tcp::81", "", "", 1, "listen tcp::81: address already in use"},
	{"LISTEN_FDS that lies", "", lying("2"), "", 1, "LISTEN_FDS=2: descriptor 3 was not passed"},
	{"LISTEN_FDS that is no number", "", lying("many"), "", 1, `LISTEN_FDS="many" is no number of descriptors`},
	{"names that are not as many", "", lying("0 LISTEN_FDNAMES=a"), "", 1, `LISTEN_FDNAMES="a" has 1 names for 0 descriptors`},
	{"command not found", "", "/opt/flipexec/flipexec -- /nowhere/server", "", 127, `command "/nowhere/server": not found`},
	{"command not in PATH", "", "/opt/flipexec/flipexec -- nosuchserver", "", 127, `command "nosuchserver": not found`},
	{"command not executable", "", "/opt/flipexec/flipexec -- /etc/passwd", "", 126, `command "/etc/passwd": permission denied`},
	{"command is a directory", "", "/opt/flipexec/flipexec -- /etc", "", 126, `command "/etc": is a directory`},
	{"NOTIFY_SOCKET that does not exist", "", "/usr/bin/env NOTIFY_SOCKET=/nowhere/n /opt/flipexec/flipexec -- /bin/true", "", 1, "/nowhere/n: no such file or directory"},
	{"NOTIFY_SOCKET that is no address", "", "/usr/bin/env NOTIFY_SOCKET=nonsense /opt/flipexec/flipexec -- /bin/true", "", 1, "NOTIFY_SOCKET: "},
	{"PID file in a missing directory", "--pid-file /nowhere/p", "", "", 1, "check /nowhere/p: directory /nowhere/: no such file or directory"},
	{"PID file in a read-only directory", "--pid-file /srv/p", "", "ReadOnlyPaths=/srv", 1, "check /srv/p: directory /srv/: read-only file system"},
	{"PID file in a directory of others", "--pid-file /srv/p", "", "User=rig", 1, "check /srv/p: directory /srv/: permission denied"},
	{"PID file by a relative path", "--pid-file run/p", "", "", 2, `--pid-file "run/p": not absolute`},
}

// lying is an ExecStart= that claims descriptors for itself. ($$ is for systemd.)
func lying(fds string) string {
	return `/bin/sh -c 'LISTEN_PID=$$$$ LISTEN_FDS=` + fds + ` exec /opt/flipexec/flipexec -- /usr/bin/touch ` + executed + `'`
}

func (c badStart) unit(name string) string {
	command := c.command
	if command == "" {
		command = "/opt/flipexec/flipexec " + c.options + " -- /usr/bin/touch " + executed
	}
	return fmt.Sprintf("[Service]\nType=notify\nNotifyAccess=exec\nExecStart=%s\nRuntimeDirectory=%s\n%s\n", command, name, c.lines)
}

// TestBadStartIsRefusedByName: what is wrong is found before the server runs, and
// said in one line: invariant I10.
func TestBadStartIsRefusedByName(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	stays := obstacles(t, r)
	for i, c := range badStarts {
		t.Run(c.name, func(t *testing.T) {
			name := fmt.Sprintf("bad%d", i)
			if err := r.WriteUnit(name+".service", c.unit(name)); err != nil {
				t.Fatal(err)
			}
			// A unit of Type=exec has started once flipexec has.
			if out, err := r.Systemctl("start", name); err == nil && !strings.Contains(c.lines, "Type=exec") {
				t.Errorf("systemctl start: got success: %s", out)
			}
			rig.WaitFor(t, name+" has failed", 10*time.Second, func() bool {
				return r.Show(name, "ActiveState")["ActiveState"] == "failed"
			})
			if got := r.Show(name, "ExecMainStatus")["ExecMainStatus"]; got != fmt.Sprint(c.status) {
				t.Errorf("exit status: got %s, want %d", got, c.status)
			}
			checkOneLine(t, r.Journal(name+".service"), c.want)
			for _, path := range []string{executed, "/srv/new", "/nowhere"} {
				if _, err := os.Lstat(r.Path(path)); !os.IsNotExist(err) {
					t.Errorf("%s is there: %v", path, err)
				}
			}
			stays(t)
		})
	}
}

// checkOneLine wants exactly one line of flipexec, with want in it.
func checkOneLine(t *testing.T, journal, want string) {
	t.Helper()
	var ours []string
	for _, line := range strings.Split(journal, "\n") {
		if strings.HasPrefix(line, "flipexec: ") {
			ours = append(ours, line)
		}
	}
	if len(ours) != 1 || !strings.Contains(ours[0], want) {
		t.Errorf("flipexec said %q, want one line with %q in it; all of the journal:\n%s", ours, want, journal)
	}
}

// obstacles puts in the way what belongs to somebody else; the returned function
// checks that it is still there and works.
func obstacles(t *testing.T, r *rig.Rig) (stays func(t *testing.T)) {
	t.Helper()
	port, err := r.Listen("tcp", ":81")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close() })
	live, err := net.Listen("unix", r.Path("/srv/live"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { live.Close() })
	writeFile(t, r, "/srv/precious", "precious\n")
	return func(t *testing.T) {
		t.Helper()
		c, err := net.Dial("unix", r.Path("/srv/live"))
		if err != nil {
			t.Fatalf("the socket of somebody else: %v", err)
		}
		c.Close()
		if b, err := os.ReadFile(r.Path("/srv/precious")); err != nil || string(b) != "precious\n" {
			t.Errorf("the file at the path: got %q, %v", b, err)
		}
	}
}

// TestStaleSocketIsReplaced: the path of a server that was killed.
func TestStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.Path("/srv/stale"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	install(t, r, strings.Replace(unitText(goServer), "--pid-file", "--listen unix:/srv/stale --pid-file", 1))
	must(t, r, "start", "web")
	c, err := net.Dial("unix", r.Path("/srv/stale"))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	checkAgreement(t, r)
}
