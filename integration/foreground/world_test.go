//go:build linux

package foreground_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// look is a server that writes what it was given to the file $SEEN, and is a witness
// then. Its own shell has not changed any of it.
const look = `#!/bin/sh
exec 8>$SEEN
env | sort >&8
grep -E "^(Umask|Groups|NoNewPrivs|Sig(Blk|Ign)|Cap.*):" /proc/self/status >&8
cat /proc/self/limits /proc/self/oom_score_adj >&8
pwd >&8
nice >&8
for fd in 0 1 2; do echo $fd $(readlink /proc/$$/fd/$fd); done >&8
exec 8>&-
exec witness
`

// TestServerGetsWhatItWouldGetDirectly, but for what flipexec promises it: however it is
// started.
func TestServerGetsWhatItWouldGetDirectly(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]string{
		"plainly":                  `"$@" & wait`, // of a shell with job control
		"by nohup":                 `nohup "$@"`,
		"in the background":        `set +m; "$@" & wait`,
		"in the background, nohup": `set +m; nohup "$@" & wait`,
		"with limits":              `ulimit -Sn 100; ulimit -Hn 200; ulimit -c 0; umask 027; nice -n 3 "$@"`,
		"in another directory":     `cd /; exec "$@"`,
		"with an odd environment": `EMPTY= LINES="a
b" exec "$@"`,
		"with standard descriptors": `exec "$@" </dev/zero >/dev/full 2>/dev/full`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			script := filepath.Join(s.dir, "look")
			if err := os.WriteFile(script, []byte(look), 0o700); err != nil {
				t.Fatal(err)
			}
			directly := s.seen(how, "direct", script)
			behind := s.seen(how, "behind", "flipexec", "--listen", "tcp:127.0.0.1:0", "--", script)
			for _, line := range difference(directly, behind) {
				if !promised(line) {
					t.Errorf("%s", line)
				}
			}
		})
	}
}

// TestServerDoesNotSeeWhatWasTakenOver: nor does one of a later generation. Its sockets
// are the same all the time.
func TestServerDoesNotSeeWhatWasTakenOver(t *testing.T) {
	t.Parallel()
	s := newSite(t, "KEPT=1")
	const server = `env >seen.$FLIPEXEC_GENERATION; readlink /proc/$$/fd/3 /proc/$$/fd/4 >>seen.$FLIPEXEC_GENERATION; exec witness`
	f := s.start("flipexec", "exec", "--listen", "tcp:127.0.0.1:0", "--export", "nginx", "--",
		"env", "-u", "LISTEN_FDS", "FLIPEXEC_EXPORT=server-starter", "flipexec", "--import", "nginx", "--", "sh", "-c", server)
	s.mustReload()
	var before string
	for generation := range 2 {
		text, err := os.ReadFile(filepath.Join(s.dir, fmt.Sprintf("seen.%d", generation+1)))
		if err != nil {
			t.Fatal(err)
		}
		seen := strings.Fields(string(text))
		socket := seen[len(seen)-1]
		if before == "" {
			before = socket
		}
		if strings.Contains(string(text), "NGINX") || !strings.HasPrefix(socket, "socket:") || socket != before {
			t.Errorf("generation %d: no NGINX, and socket %s alone are wanted in:\n%s", generation+1, before, text)
		}
		for _, want := range []string{"KEPT=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=nginx-1", fmt.Sprintf("SERVER_STARTER_GENERATION=%d", generation+1)} {
			if !slices.Contains(seen, want) {
				t.Errorf("generation %d: want %q in:\n%s", generation+1, want, text)
			}
		}
	}
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGTERM))
}

// seen starts a server in a shell and returns what it saw.
func (s *site) seen(how, name string, argv ...string) []string {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	cmd, _ := s.command(append([]string{"setsid", "bash", "-mc", how, "sh"}, argv...)...)
	cmd.Env = append(cmd.Env, "SEEN="+file)
	cmd.Stdout, cmd.Stderr = nil, nil
	before := strings.Count(s.told.String(), "ready\n")
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.awaitTold("ready", before+1)
	text, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	generation := "1"
	if name == "direct" {
		generation = ""
	}
	if err := unix.Kill(s.server(generation), unix.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	cmd.Wait() // its status is the same thing's
	s.awaitNothing()
	return strings.Split(strings.ReplaceAll(string(text), file, "FILE"), "\n")
}

// difference is what only one has.
func difference(a, b []string) (lines []string) {
	for _, l := range a {
		if !slices.Contains(b, l) {
			lines = append(lines, "only directly: "+l)
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			lines = append(lines, "only behind flipexec: "+l)
		}
	}
	return lines
}

// promised tells what a server finds beside.
func promised(line string) bool {
	for _, variable := range []string{"LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET", "FLIPEXEC_GENERATION", "FLIPEXEC_CONTROL", "FLIPEXEC_STORE"} {
		if strings.HasPrefix(line, "only behind flipexec: "+variable+"=") {
			return true
		}
	}
	_, command, _ := strings.Cut(line, ": _=")                                                    // what the shell was told to execute
	return command != "" || strings.HasPrefix(line, "only directly: FLIPEXEC_RUNTIME_DIRECTORY=") // for flipexec
}
