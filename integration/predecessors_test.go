//go:build linux

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// A move is from a real server that looks after its own upgrades, by SIGUSR2, to the
// same server behind flipexec: that stands where the new program is looked for.
type move struct {
	name    string
	program string // of the package
	start   string // shell command that starts /srv/NAME as a daemon
	pidFile string // that it writes
	wrapper string // what stands in its place later
	stop    string // signal that ends the old one, "" for one that has become flipexec
	beside  string // configuration of an nginx that it needs
	unix    string // path of a socket that it has as well
}

// inPlace is a shell script that becomes flipexec with the server. What the old one has
// in its environment may be nothing at all.
func inPlace(options, command string) string {
	return "#!/bin/sh\nexec >>/run/web.log 2>&1\nexec /opt/flipexec/flipexec --name web --pid-file=/run/web.pid " +
		options + " -- " + command + "\n"
}

// plainNginx writes the configuration of an nginx that is no generation.
const plainNginx = `sed 's/\.GENERATION//; s/GENERATION//' /opt/servers/nginx/nginx.conf >/etc/web.conf`

var moves = []move{
	{
		name: "nginx", program: "/usr/sbin/nginx",
		start: plainNginx + "; /srv/nginx -c /etc/web.conf", pidFile: "/run/web/nginx.pid",
		wrapper: inPlace("--detach --import nginx --export nginx --stop-signal QUIT", "/opt/servers/nginx/run"), stop: "QUIT",
	},
	{
		name: "unicorn", program: "/usr/bin/unicorn",
		start:   "(cat /opt/servers/unicorn/unicorn.rb; echo \"pid '/run/unicorn.pid'\") >/etc/web.rb; /srv/unicorn -D -c /etc/web.rb /opt/servers/unicorn/config.ru",
		pidFile: "/run/unicorn.pid",
		wrapper: inPlace("--detach --import unicorn --stop-signal QUIT",
			"/usr/bin/unicorn -c /opt/servers/unicorn/unicorn.rb /opt/servers/unicorn/config.ru"), stop: "QUIT",
	},
	{
		name: "gunicorn", program: "/usr/bin/gunicorn",
		start:   "/srv/gunicorn -D -p /run/gunicorn.pid --preload -w 2 -b 0.0.0.0:80 -b unix:/run/web/app.sock --chdir /opt/servers/wsgi app:app",
		pidFile: "/run/gunicorn.pid", unix: "/run/web/app.sock",
		// It has Python read the file.
		wrapper: "import os\nos.execv('/bin/sh', ['sh', '/etc/wrapper'])\n", stop: "TERM",
	},
	{
		name: "nghttpx", program: "/usr/sbin/nghttpx", beside: "/opt/servers/nghttpx/beside.conf",
		start: "/srv/nghttpx --daemon --pid-file=/run/nghttpx.pid --conf=/dev/null --frontend='0.0.0.0,80;no-tls' --backend=127.0.0.1,8080 " +
			"--add-response-header='X-Generation: '",
		pidFile: "/run/nghttpx.pid",
		wrapper: inPlace("--detach --import nghttpx --export nghttpx --stop-signal QUIT", "/opt/servers/nghttpx/run"), stop: "QUIT",
	},
	{
		name: "php-fpm", program: "/usr/sbin/php-fpm8.2", beside: "/opt/servers/php-fpm/beside.conf",
		start:   "/srv/php-fpm -D -y /opt/servers/php-fpm/php-fpm.conf -g /run/php-fpm.pid",
		pidFile: "/run/php-fpm.pid",
		wrapper: inPlace("--foreground --import php-fpm --export php-fpm --stop-signal QUIT",
			"/usr/sbin/php-fpm8.2 -F -y /opt/servers/php-fpm/php-fpm.conf"),
	},
}

// TestMoveFromAServersOwnUpgrade: no request fails while flipexec takes the sockets over,
// nor at the reloads that follow.
func TestMoveFromAServersOwnUpgrade(t *testing.T) {
	t.Parallel()
	for _, m := range moves {
		t.Run(m.name, func(t *testing.T) {
			r := boot(t, "host")
			showLog(t, r)
			if m.beside != "" {
				startBeside(t, r, m.beside)
			}
			inRig(t, r, "mkdir -p /run/web; cp "+m.program+" /srv/"+m.name)
			writeFile(t, r, "/etc/wrapper", inPlace("--foreground --import gunicorn", "/usr/bin/gunicorn --preload -w 2 --chdir /opt/servers/wsgi app:app"))
			inRig(t, r, "{ "+m.start+"; } >/dev/null 2>&1")
			awaitAnswersOf(t, r, "")
			awaitPIDFile(t, r, m.pidFile)
			old := inRig(t, r, "cat "+m.pidFile)
			traffic := startTraffic(t, r)

			replaceProgram(t, r, "/srv/"+m.name, m.wrapper)
			inRig(t, r, "kill -USR2 "+old)
			awaitPIDFile(t, r, "/run/web.pid")
			if m.stop != "" {
				inRig(t, r, "kill -"+m.stop+" "+old)
			}
			awaitGeneration(t, r, 1)
			for i := range 2 {
				reloadByName(t, r)
				awaitGeneration(t, r, i+2)
			}
			traffic.stop(t)
			if m.unix != "" {
				inRig(t, r, "curl --silent --show-error --fail --unix-socket "+m.unix+" http://localhost/")
			}
		})
	}
}

// replaceProgram puts a script there at once: a running program cannot be written to.
func replaceProgram(t *testing.T, r *rig.Rig, path, text string) {
	t.Helper()
	writeFile(t, r, path+".new", text)
	inRig(t, r, fmt.Sprintf("chmod +x %s.new && mv %s.new %s", path, path, path))
}

// awaitAnswersOf waits until a generation alone answers, or a server of none.
func awaitAnswersOf(t *testing.T, r *rig.Rig, generation string) {
	t.Helper()
	rig.WaitFor(t, fmt.Sprintf("generation %q alone answers", generation), 20*time.Second, func() bool {
		for range 8 {
			_, header, err := tryGet(r, "/")
			if err != nil || header.Get("X-Generation") != generation {
				return false
			}
		}
		return true
	})
}

// showLog shows what flipexec said outside of the journal, if the test fails.
func showLog(t *testing.T, r *rig.Rig) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			out, err := r.Run("sh", "-c", "cat /run/web.log; ps -eo pid,ppid,args | grep -v ]$")
			t.Logf("log (%v):\n%s", err, out)
		}
	})
}

const starlet = "/usr/bin/plackup -s Starlet --max-workers 4 /opt/servers/psgi/app.psgi"

// TestMoveFromStartServerAndBack: it stays in front, and finds another command in the
// script that it starts.
func TestMoveFromStartServerAndBack(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	showLog(t, r)
	plain := "#!/bin/sh\nexec " + starlet + "\n"
	replaceProgram(t, r, "/srv/run", plain)
	const files = "--pid-file=/run/starter.pid --status-file=/run/starter.status"
	install(t, r, "[Service]\nExecStart=/usr/bin/start_server --port 80 "+files+" -- /srv/run\n[Install]\nWantedBy=multi-user.target\n")
	must(t, r, "start", "web")
	awaitAnswersOf(t, r, "")
	traffic := startTraffic(t, r)

	// It has a second for a server to fail, and says then that it runs.
	rig.WaitFor(t, "start_server has written its status", 20*time.Second, func() bool { return inRig(t, r, "cat /run/starter.status 2>/dev/null; true") != "" })
	replaceProgram(t, r, "/srv/run", "#!/bin/sh\nexec /opt/flipexec/flipexec --name web --import server-starter --export server-starter -- "+starlet+"\n")
	inRig(t, r, "start_server --restart "+files)
	awaitGeneration(t, r, 1)
	for i := range 2 {
		reloadByName(t, r)
		awaitGeneration(t, r, i+2)
	}
	replaceProgram(t, r, "/srv/run", plain)
	inRig(t, r, "start_server --restart "+files)
	awaitAnswersOf(t, r, "")
	traffic.stop(t)
	if left := strings.Join(processes(t, r), "\n"); strings.Contains(left, "flipexec") {
		t.Errorf("left behind:\n%s", left)
	}
}

// TestMoveOfANginxUnit: systemd follows from one main process to the other by the PID
// file of the edited unit. A move that fails before leaves nginx as it was.
func TestMoveOfANginxUnit(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	showLog(t, r)
	const unit = "[Service]\nType=forking\nRuntimeDirectory=web\nPIDFile=/run/web/%s\nExecStart=%s\nExecReload=/opt/flipexec/flipexec reload\n" +
		"[Install]\nWantedBy=multi-user.target\n"
	const flipexec = "/opt/flipexec/flipexec --detach --pid-file=/run/web/web.pid --listen=http=tcp4::80 --import=nginx --export=nginx --stop-signal=QUIT -- "
	inRig(t, r, "cp /usr/sbin/nginx /srv/nginx; "+plainNginx)
	install(t, r, fmt.Sprintf(unit, "nginx.pid", "/srv/nginx -c /etc/web.conf"))
	must(t, r, "start", "web")
	old := mainPID(t, r)
	awaitAnswersOf(t, r, "")
	traffic := startTraffic(t, r)

	install(t, r, fmt.Sprintf(unit, "web.pid", flipexec+"/opt/servers/nginx/run"))
	wrapper := "#!/bin/sh\nexec >>/run/web.log 2>&1\nRUNTIME_DIRECTORY=/run/web exec " + flipexec
	replaceProgram(t, r, "/srv/nginx", wrapper+"/bin/false\n")
	inRig(t, r, fmt.Sprintf("kill -USR2 %d", old))
	rig.WaitFor(t, "nginx has its PID file back", 20*time.Second, func() bool {
		return strings.Contains(inRig(t, r, "cat /run/web.log 2>/dev/null; ls /run/web"), "before it was ready") &&
			inRig(t, r, "cat /run/web/nginx.pid 2>/dev/null; true") == fmt.Sprint(old)
	})
	awaitAnswersOf(t, r, "")

	replaceProgram(t, r, "/srv/nginx", wrapper+"/opt/servers/nginx/run\n")
	inRig(t, r, fmt.Sprintf("kill -USR2 %d", old))
	awaitPIDFile(t, r, "/run/web/web.pid")
	inRig(t, r, fmt.Sprintf("kill -QUIT %d", old))
	awaitGeneration(t, r, 1)
	checkAgreementOnNginx(t, r)
	for i := range 2 {
		must(t, r, "reload", "web")
		awaitGeneration(t, r, i+2)
		checkAgreementOnNginx(t, r)
	}
	traffic.stop(t)

	// It takes itself for the new one of two, because its parent has not changed: no
	// way leads back to its own upgrade.
	inRig(t, r, "kill -USR2 $(cat /run/web/web.pid)")
	rig.WaitFor(t, "nginx refuses an upgrade of its own", 10*time.Second, func() bool {
		return strings.Contains(r.Journal("web.service"), "the changing binary signal is ignored")
	})
	must(t, r, "stop", "web")
	if got := show(r, "Result"); got != "success" {
		t.Errorf("Result: got %q, want success", got)
	}
}

// checkAgreementOnNginx is invariant I4 for a server whose workers answer.
func checkAgreementOnNginx(t *testing.T, r *rig.Rig) {
	t.Helper()
	want := ""
	rig.WaitFor(t, "systemd follows the PID file", 10*time.Second, func() bool {
		want = inRig(t, r, "cat /run/web/web.pid")
		return fmt.Sprint(mainPID(t, r)) == want
	})
	_, header := get(t, r, "/")
	if got := inRig(t, r, "ps -o ppid= -p "+header.Get("X-Pid")); got != want {
		t.Errorf("a worker of process %s answers, want one of main process %s", got, want)
	}
}

// awaitPIDFile waits until somebody has said who serves.
func awaitPIDFile(t *testing.T, r *rig.Rig, path string) {
	t.Helper()
	rig.WaitFor(t, path+" is there", 20*time.Second, func() bool { return inRig(t, r, "cat "+path+" 2>/dev/null; true") != "" })
}

// reloadByName asks again while the handoff before has not quite come to its own end.
func reloadByName(t *testing.T, r *rig.Rig) {
	t.Helper()
	rig.WaitFor(t, "a reload", 20*time.Second, func() bool {
		out := inRig(t, r, "/opt/flipexec/flipexec reload --name web 2>&1 || echo status $?")
		if strings.Contains(out, "status") && !strings.Contains(out, "status 3") {
			t.Fatal(out)
		}
		return !strings.Contains(out, "status")
	})
}
