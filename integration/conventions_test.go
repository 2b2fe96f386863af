//go:build linux

package integration

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/integration/rig"
)

// A reader is a real server that takes its sockets in a way of its own.
type reader struct {
	name    string
	options string // of flipexec, with --listen
	command string
	beside  string // configuration of an nginx that it needs
	loses   bool   // when it stops, connections that it has accepted
}

var readers = []reader{
	{
		name: "nginx", options: "--listen http=tcp4::80 --export nginx --stop-signal QUIT",
		command: "/opt/servers/nginx/run",
	},
	{
		name: "starlet", options: "--listen http=tcp4::80?nonblocking=no --export server-starter",
		command: "/usr/bin/plackup -s Starlet --max-workers 4 /opt/servers/psgi/app.psgi",
	},
	{ // Without --disable-keepalive it stays for as long as a kept connection is busy.
		name: "starman", loses: true, options: "--listen http=tcp4::80?nonblocking=no --export server-starter --stop-signal QUIT",
		command: "/usr/bin/starman --workers 4 --preload-app --disable-keepalive /opt/servers/psgi/app.psgi",
	},
	{
		name: "h2o", options: "--listen http=tcp4::80 --export server-starter",
		command: "/opt/servers/h2o/run",
	},
	{
		name: "php-fpm", options: "--listen tcp:127.0.0.1:9000?nonblocking=no --export php-fpm --stop-signal QUIT",
		command: "/usr/sbin/php-fpm8.2 -F -y /opt/servers/php-fpm/php-fpm.conf", beside: "/opt/servers/php-fpm/beside.conf",
	},
	{
		name: "nghttpx", options: "--listen http=tcp4::80 --export nghttpx --stop-signal QUIT",
		command: "/opt/servers/nghttpx/run", beside: "/opt/servers/nghttpx/beside.conf",
	},
	{ // It reads LISTEN_FDS, and needs nothing else.
		name: "unicorn", options: "--listen http=tcp4::80 --stop-signal QUIT",
		command: "/usr/bin/unicorn -c /opt/servers/unicorn/unicorn.rb /opt/servers/unicorn/config.ru",
	},
}

// unit is web.service with the server.
func (s reader) unit() string {
	return strings.Replace(unitText(s.command), "--listen http=tcp::80", s.options, 1)
}

// TestServersThatReadOtherConventions: real ones find their sockets, and lose nothing at
// a reload.
func TestServersThatReadOtherConventions(t *testing.T) {
	t.Parallel()
	for _, s := range readers {
		t.Run(s.name, func(t *testing.T) {
			r := boot(t, "host")
			if s.beside != "" {
				startBeside(t, r, s.beside)
			}
			install(t, r, s.unit())
			must(t, r, "start", "web")
			awaitGeneration(t, r, 1)
			traffic := startTraffic(t, r)
			for i := range 2 {
				must(t, r, "reload", "web")
				awaitGeneration(t, r, i+2)
				awaitOneGeneration(t, r)
			}
			if s.loses {
				checkCutOff(t, "new", traffic.fresh.Stop())
				checkCutOff(t, "kept", traffic.kept.Stop())
			} else {
				traffic.stop(t)
			}
			must(t, r, "stop", "web")
			if left := processes(t, r); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// awaitGeneration waits until one alone answers.
func awaitGeneration(t *testing.T, r *rig.Rig, generation int) {
	t.Helper()
	awaitAnswersOf(t, r, strconv.Itoa(generation))
}

// TestExecPassesConventionsOn: what one flipexec writes another reads, and neither its
// variables nor its descriptors go on to who is not meant.
func TestExecPassesConventionsOn(t *testing.T) {
	t.Parallel()
	flipexec := filepath.Join(programs, "flipexec")
	chain := []string{"exec", "--listen=tcp:127.0.0.1:0", "--listen=udp:127.0.0.1:0", "--export=nginx", "--",
		"env", "-u", "LISTEN_FDS", "-u", "LISTEN_FDNAMES", flipexec, "exec", "--import=nginx,unicorn", "--export=server-starter", "--",
		"sh", "-c", "ls /proc/self/fd | wc -l; env"}
	cmd := exec.CommandContext(t.Context(), flipexec, chain...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "KEPT=1"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Fields(string(out))
	port := regexp.MustCompile(`^SERVER_STARTER_PORT=127\.0\.0\.1:[0-9]+=3$`)
	for _, want := range []string{"KEPT=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=nginx-1:nginx-2", "SERVER_STARTER_GENERATION=1"} {
		if !slices.Contains(lines, want) {
			t.Errorf("want %q in:\n%s", want, out)
		}
	}
	if !slices.ContainsFunc(lines, port.MatchString) || strings.Contains(string(out), "NGINX") {
		t.Errorf("want %s and no NGINX in:\n%s", port, out)
	}
	if got, want := lines[0], "6"; got != want { // with that of the directory
		t.Errorf("descriptors: got %s, want %s", got, want)
	}
}

// startBeside starts an nginx that flipexec has nothing to do with.
func startBeside(t *testing.T, r *rig.Rig, configuration string) {
	t.Helper()
	err := r.WriteUnit("beside.service", "[Service]\nType=notify\nNotifyAccess=all\n"+
		"ExecStart=/opt/servers/onready 'start worker process [0-9]' /usr/sbin/nginx -g 'daemon off;' -c "+configuration+"\n")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := r.Systemctl("start", "beside"); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, r.Journal("beside.service"))
	}
}
