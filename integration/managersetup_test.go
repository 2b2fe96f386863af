//go:build linux

package integration

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flipexec/flipexec/integration/rig"
)

// A manager is a program that runs flipexec, in a rig of the suite.
type manager struct {
	name  string // its row
	suite string
	setup string // whose lines, and where they stand
	lines string // what a user has to write

	// Shell commands.
	prepare string // with the lines in /etc/web.lines
	start   string
	reload  string // by the manager's own word
	ask     string // the same by flipexec's
	stop    string
	log     string // prints what flipexec has said
	exits   string // prints each exit status that the manager has seen

	restarts   bool   // it does, after a crash
	killed     string // what it calls the end by SIGKILL
	statusText bool   // it shows one
	waits      bool   // its reload does, and fails if that fails
}

// What is started: the programs have the names that a user would call them by.
const (
	managersServer  = "/usr/bin/server"
	managersCommand = "flipexec --listen http=tcp::80 --name web -- " + managersServer
)

// managersServerText makes the server fail if that is what its configuration says. It
// gives clients that a busy machine holds up time for their request.
const managersServerText = "#!/bin/sh\n. /etc/web.conf\nGOHTTP_QUIET_TIME=10s exec " + goServer + "\n"

// The way of every manager that starts a program and looks at nothing but its end.
const (
	askByName = "flipexec reload --name web"
	readLog   = "cat /run/web.log"
	readExits = "cat /run/exits"
)

func managers() []manager {
	all := []manager{runit(), supervisord(), s6(), process1(), runc()}
	for _, release := range rig.Versions {
		for _, kind := range []string{"simple", "exec", "forking", "notify", "notify-reload"} {
			if kind != "notify-reload" || release.Version >= 253 {
				all = append(all, unit(release, kind))
			}
		}
	}
	return all
}

func runit() manager {
	return manager{
		name: "runit", suite: "host", setup: "runit, in `./run`",
		lines: "#!/bin/sh\nexec " + managersCommand,
		prepare: `mkdir -p /srv/web && ln -s /etc/web.lines /srv/web/run
			printf '#!/bin/sh\necho $1 >>/run/exits\n' >/srv/web/finish
			chmod +x /srv/web/*
			touch /srv/web/down
			runsvdir /srv >>/run/web.log 2>&1 </dev/null &`,
		start:  "sv up /srv/web",
		reload: "sv hup /srv/web", ask: askByName, stop: "sv down /srv/web", log: readLog, exits: readExits,
		restarts: true, killed: "137",
	}
}

func supervisord() manager {
	return manager{
		name: "supervisord", suite: "host", setup: "supervisord, in its configuration",
		lines: "[program:web]\ncommand=" + managersCommand,
		prepare: `cp /etc/web.lines /etc/supervisor/conf.d/web.conf
			printf '\nautostart=false\nstartsecs=0\nstderr_logfile=/run/web.log\n' >>/etc/supervisor/conf.d/web.conf
			supervisord`,
		start:  "supervisorctl start web",
		reload: "supervisorctl signal HUP web", ask: askByName, stop: "supervisorctl stop web", log: readLog,
		exits: `sed -n 's/.*: web (exit status \([0-9]*\).*/\1/p; s/.*: web (terminated by \([A-Z]*\).*/\1/p' ` +
			`/var/log/supervisor/supervisord.log`,
		restarts: true, killed: "137",
	}
}

func s6() manager {
	return manager{
		name: "s6", suite: "host", setup: "s6, in `./run`",
		lines: "#!/bin/sh\nexec " + managersCommand,
		prepare: `mkdir -p /srv/web && ln -s /etc/web.lines /srv/web/run
			printf '#!/bin/sh\necho $1 >>/run/exits\n' >/srv/web/finish
			chmod +x /srv/web/*
			touch /srv/web/down
			s6-svscan /srv >>/run/web.log 2>&1 </dev/null &`,
		start:  "s6-svc -u /srv/web",
		reload: "s6-svc -h /srv/web", ask: askByName, stop: "s6-svc -d /srv/web", log: readLog, exits: readExits,
		restarts: true, killed: "137",
	}
}

func process1() manager {
	return manager{
		name: "process 1", suite: "host", setup: "Process 1 of a PID namespace",
		lines:  "unshare --pid --fork --mount-proc " + managersCommand,
		start:  "(sh /etc/web.lines; echo $? >>/run/exits) >>/run/web.log 2>&1 </dev/null &",
		reload: "kill -HUP $(pgrep -o -x flipexec)", ask: askByName, stop: "kill $(pgrep -o -x flipexec)", log: readLog, exits: readExits,
		killed: "137",
	}
}

func runc() manager {
	args := `"` + strings.Join(strings.Fields(managersCommand), `", "`) + `"`
	return manager{
		name: "runc", suite: "host", setup: "runc, in `config.json`",
		lines: `"args": [` + args + `]`,
		prepare: `mkdir -p /run/bundle/rootfs && mount --bind / /run/bundle/rootfs
			cat >/run/bundle/config.json <<!
{"ociVersion": "1.0.2",
 "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/usr/bin:/bin"], $(cat /etc/web.lines),
  "capabilities": {"bounding": ["CAP_NET_BIND_SERVICE"], "effective": ["CAP_NET_BIND_SERVICE"], "permitted": ["CAP_NET_BIND_SERVICE"]}},
 "root": {"path": "rootfs", "readonly": true},
 "mounts": [
  {"destination": "/proc", "type": "proc", "source": "proc"},
  {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
  {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
  {"destination": "/opt/flipexec", "type": "none", "source": "/opt/flipexec", "options": ["bind", "ro"]}],
 "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]}}
!`,
		start:  "(cd /run/bundle && runc run web; echo $? >>/run/exits) >>/run/web.log 2>&1 </dev/null &",
		reload: "runc kill web HUP", ask: "runc exec web flipexec reload", stop: "runc kill web TERM", log: readLog, exits: readExits,
		killed: "137",
	}
}

// unit is a service of the kind under that systemd.
func unit(release rig.Release, kind string) manager {
	m := manager{
		name: fmt.Sprintf("systemd %d, %s", release.Version, kind), suite: release.Suite,
		setup:   "systemd, `Type=" + kind + "`",
		prepare: `systemctl enable --quiet web`,
		start:   "systemctl start web", reload: "systemctl reload web", ask: askByName, stop: "systemctl stop web",
		log:   "journalctl --sync; journalctl -q --no-pager -o cat -u web",
		exits: readExits, restarts: true, killed: "137", waits: true,
	}
	command := "ExecStart=/usr/bin/" + managersCommand
	lines := []string{"Type=" + kind, command, "ExecReload=/usr/bin/flipexec reload", "KillMode=mixed"}
	switch kind {
	case "forking": // its main process is the server
		lines[1] = strings.Replace(command, "--listen", "--detach --pid-file=/run/web.pid --listen", 1)
		lines[3] = "PIDFile=/run/web.pid"
		m.ask, m.killed = m.reload, "KILL"
	case "notify", "notify-reload":
		lines[1] = strings.Replace(command, "--listen", "--foreground --listen", 1)
		m.statusText = true
	}
	if kind == "notify-reload" {
		lines = slices.Delete(lines, 2, 3)
		m.waits = false // its protocol has no word for a failure
	}
	m.lines = strings.Join(lines, "\n")
	return m
}

// unitAround is what a unit needs beside the lines for its kind of service.
const unitAround = `[Unit]
StartLimitIntervalSec=0
[Service]
%s
ExecStopPost=/bin/sh -c 'echo $$EXIT_STATUS >>/run/exits'
Restart=on-failure
RestartSec=50ms
TimeoutStopSec=10s
[Install]
WantedBy=multi-user.target
`
