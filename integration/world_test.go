//go:build linux

package integration

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/integration/rig"
)

// A worldUnit is one way to start a server: the same unit with and without flipexec.
type worldUnit struct {
	name    string
	lines   []string  // for [Service]
	wrapper string    // before the command of ExecStart= and ExecReload=
	options string    // of flipexec; without --listen it inherits from web.socket
	effect  seenWorld // some of what systemd makes of it, so that equal never means untested
}

// listenHTTP is what web.socket says, as an option.
const listenHTTP = "--listen http=tcp::80"

var worldUnits = []worldUnit{
	{name: "as systemd does", options: listenHTTP},
	{name: "inherited socket"},
	{
		name:    "everything set",
		wrapper: `/usr/bin/env "BYTES=\xff\xfe=" `, // systemd lets only UTF-8 into Environment=
		lines: []string{
			"UMask=0027", "WorkingDirectory=/usr/share", "Nice=5", "OOMScoreAdjust=100", "CPUAffinity=0",
			"LimitNOFILE=1234:5678", "LimitCORE=4096:8192", "LimitSTACK=4M:16M", "LimitNPROC=4000", "LimitMEMLOCK=64K",
			"WatchdogSec=30", "TimerSlackNSec=1ms", "CPUSchedulingPolicy=batch", "IOSchedulingClass=best-effort",
			"IOSchedulingPriority=6", "CoredumpFilter=0x7f", "CapabilityBoundingSet=~CAP_SYS_BOOT", "SecureBits=noroot-locked",
			"AmbientCapabilities=CAP_NET_BIND_SERVICE", "Personality=x86-64", "RuntimeDirectory=web/extra",
			`Environment="SPACES= a  b " "EQUALS=a=b==" EMPTY= "QUOTE='\"" "TAB=\t" "NEWLINE=a\nb" "UTF8=ü"`,
			"Environment=FLIPEXEC_DRAIN_TIMEOUT=5s LISTEN_OTHER=1 NOTIFY_OTHER=1",
		},
		options: listenHTTP,
		effect: seenWorld{
			"status.Umask": "0027", "cwd": "/usr/share", "nice": "5", "oom_score_adj": "100", "status.Cpus_allowed_list": "0",
			"limit.Max open files": "1234:5678", "limit.Max core file size": "4096:8192", "limit.Max processes": "4000:4000",
			"env.WATCHDOG_USEC": "30000000", "timer_slack": "1000000", "policy": "3", "io_priority": "16390",
			"coredump_filter": "0000007f", "securebits": "2", "status.CapAmb": "0000000000000400",
			"env.BYTES": `\xff\xfe=`, "env.EMPTY": "", "env.SPACES": " a  b ", "env.EQUALS": "a=b==", "env.QUOTE": `'"`,
			"env.NEWLINE": `a\x0ab`, "env.UTF8": `\xc3\xbc`, "env.FLIPEXEC_DRAIN_TIMEOUT": "5s",
		},
	},
	{
		name:    "another user",
		lines:   []string{"User=rig", "SupplementaryGroups=systemd-journal", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "KeyringMode=private"},
		options: listenHTTP,
		effect:  seenWorld{"status.CapEff": "0000000000000400", "session_keyring": "keyring;1000;1000;3f030000;_ses"},
	},
	{name: "SIGPIPE not ignored", lines: []string{"IgnoreSIGPIPE=no"}, options: listenHTTP + " --ignore-sigpipe no"}, // see TestServerKeepsSignalDispositions
	{
		name:    "system call filter",
		lines:   []string{"NoNewPrivileges=yes", "SystemCallFilter=@system-service", "RestrictNamespaces=yes", "LockPersonality=yes", "KeyringMode=shared"},
		options: listenHTTP,
		effect:  seenWorld{"status.NoNewPrivs": "1", "status.Seccomp": "2"},
	},
}

// unit is web.service with these commands.
func (s worldUnit) unit(start, reload string) string {
	return fmt.Sprintf(`[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=exec
NonBlocking=yes
RuntimeDirectory=web
Environment=WORLD_REPORT=/tmp/world
ExecStart=%s%s
ExecReload=%s%s
%s
`, s.wrapper, start, s.wrapper, reload, strings.Join(s.lines, "\n"))
}

// stopWorld ends web.service, and web.socket so that the next start binds for itself.
func stopWorld(t *testing.T, r *rig.Rig) {
	t.Helper()
	must(t, r, "stop", "web.socket", "web.service")
}

// plainWorld is what systemd alone makes of the unit.
func (s worldUnit) plainWorld(t *testing.T, r *rig.Rig, server string) seenWorld {
	t.Helper()
	install(t, r, s.unit(server, "/bin/true"))
	must(t, r, "start", "web.socket", "web.service")
	defer stopWorld(t, r)
	w := takeWorld(t, r, "0")
	for key, want := range s.effect {
		if got, ok := w[key]; !ok || got != want {
			t.Errorf("%s without flipexec: got %q, want %q", key, got, want)
		}
	}
	return w
}

// start is systemctl start of a unit whose flipexec binds or inherits.
func (s worldUnit) start(t *testing.T, r *rig.Rig, command string) {
	t.Helper()
	install(t, r, s.unit(command, "/opt/flipexec/flipexec reload"))
	if !strings.Contains(s.options, "--listen") {
		must(t, r, "start", "web.socket")
	}
	must(t, r, "start", "web.service")
}

// worlds are those of generations 1 and 2.
func (s worldUnit) worlds(t *testing.T, r *rig.Rig, server string) []seenWorld {
	t.Helper()
	s.start(t, r, "/opt/flipexec/flipexec "+s.options+" -- "+server)
	defer stopWorld(t, r)
	must(t, r, "reload", "web.service")
	return []seenWorld{takeWorld(t, r, "1"), takeWorld(t, r, "2")}
}

// TestServerSeesExactlyItsWorld is section 6 of the design, and invariant I7.
func TestServerSeesExactlyItsWorld(t *testing.T) {
	t.Parallel()
	r := bootWorld(t)
	for _, s := range worldUnits {
		for _, server := range worldServers {
			t.Run(s.name+"/"+server.name, func(t *testing.T) {
				plain := s.plainWorld(t, r, server.command)
				for i, ours := range s.worlds(t, r, server.command) {
					generation := fmt.Sprint(i + 1)
					t.Run("generation "+generation, func(t *testing.T) {
						compareWorlds(t, plain, ours, ofFlipexec)
						if got := ours["env.FLIPEXEC_GENERATION"]; got != generation {
							t.Errorf("FLIPEXEC_GENERATION: got %q, want %q", got, generation)
						}
						if got := ours["parent"]; got != "1" {
							t.Errorf("parent: got %q, want %q", got, "1")
						}
					})
				}
			})
		}
	}
}

// TestExecChangesNothingElse is the same for flipexec exec, whose server has no keeper.
func TestExecChangesNothingElse(t *testing.T) {
	t.Parallel()
	r := bootWorld(t)
	for _, s := range worldUnits {
		for _, server := range worldServers {
			t.Run(s.name+"/"+server.name, func(t *testing.T) {
				plain := s.plainWorld(t, r, server.command)
				s.start(t, r, "/opt/flipexec/flipexec exec "+s.options+" -- "+server.command)
				defer stopWorld(t, r)
				compareWorlds(t, plain, takeWorld(t, r, "0"), ofTheRun)
			})
		}
	}
}

// TestServerSeesOnlyPassedDescriptors has a shell leave descriptors open.
func TestServerSeesOnlyPassedDescriptors(t *testing.T) {
	t.Parallel()
	r := bootWorld(t)
	const stray = `/bin/bash -c 'exec 251</dev/null 3</dev/null 4</proc; exec /opt/flipexec/flipexec "$$@"' bash `
	s := worldUnit{}
	for _, server := range worldServers {
		for _, tc := range []struct{ name, command, generation string }{
			{"started", stray + listenHTTP + " -- " + server.command, "1"},
			{"reloaded", stray + listenHTTP + " -- " + server.command, "2"},
			{"exec", stray + "exec " + listenHTTP + " -- " + server.command, "0"},
		} {
			t.Run(tc.name+"/"+server.name, func(t *testing.T) {
				install(t, r, s.unit(tc.command, stray+"reload"))
				must(t, r, "start", "web.service")
				defer stopWorld(t, r)
				if tc.generation == "2" {
					must(t, r, "reload", "web.service")
				}
				w := takeWorld(t, r, tc.generation)
				if got, want := w.descriptors(), []string{"0", "1", "2", "3"}; !slices.Equal(got, want) {
					t.Errorf("descriptors: got %q, want %q", got, want)
				}
				if got, want := w["fd.3"], "socket flags=4002 cloexec=0 type=1 listening=1 local=[::]:80"; got != want {
					t.Errorf("descriptor 3: got %q, want %q", got, want)
				}
			})
		}
	}
}

// TestServerKeepsSignalDispositions says the masks by hand: TestServerSeesExactlyItsWorld
// would not see that both are wrong.
func TestServerKeepsSignalDispositions(t *testing.T) {
	t.Parallel()
	r := bootWorld(t)
	for _, tc := range []struct {
		worldUnit
		ignored, blocked string
	}{
		{worldUnit{name: "SIGPIPE is ignored", options: listenHTTP}, "0000000000001000", "0000000000000000"},
		{worldUnit{name: "IgnoreSIGPIPE=no", lines: []string{"IgnoreSIGPIPE=no"}, options: listenHTTP + " --ignore-sigpipe no"}, "0000000000000000", "0000000000000000"},
		{worldUnit{name: "blocked by a wrapper", wrapper: "/usr/bin/env --block-signal=USR1 ", options: listenHTTP}, "0000000000001000", "0000000000000200"},
	} {
		check := func(t *testing.T, w seenWorld) {
			for key, want := range map[string]string{
				"status.SigIgn": tc.ignored, "status.SigBlk": tc.blocked, "status.SigCgt": "0000000000000000",
			} {
				if got := publicSignals(t, w[key]); got != want {
					t.Errorf("%s: got %q, want %q", key, got, want)
				}
			}
		}
		t.Run(tc.name, func(t *testing.T) {
			check(t, tc.plainWorld(t, r, worldC))
			for _, w := range tc.worlds(t, r, worldC) {
				check(t, w)
			}
		})
		t.Run(tc.name+"/exec", func(t *testing.T) {
			tc.start(t, r, "/opt/flipexec/flipexec exec "+tc.options+" -- "+worldC)
			defer stopWorld(t, r)
			check(t, takeWorld(t, r, "0"))
		})
	}
}

// TestServerGetsItsArgumentsByteForByte has what a shell, a command line library or a
// text protocol could change.
func TestServerGetsItsArgumentsByteForByte(t *testing.T) {
	t.Parallel()
	r := bootWorld(t)
	s := worldUnit{options: listenHTTP}
	const quoted = ` "" "a b" -- reload --listen=x "\xff\xfe" "\t\n" '"' "\\" $$HOME %%n "" -- --help ""`
	want := []string{worldC, "", "a b", "--", "reload", "--listen=x", `\xff\xfe`, `\x09\x0a`, `"`, `\x5c`, "$HOME", "%n", "", "--", "--help", ""}
	check := func(t *testing.T, w seenWorld) {
		t.Helper()
		var got []string
		for i := 0; ; i++ {
			arg, ok := w[fmt.Sprintf("arg.%d", i)]
			if !ok {
				break
			}
			got = append(got, arg)
		}
		if !slices.Equal(got, want) {
			t.Errorf("arguments: got %q, want %q", got, want)
		}
	}
	t.Run("without flipexec", func(t *testing.T) { check(t, s.plainWorld(t, r, worldC+quoted)) })
	t.Run("generations", func(t *testing.T) {
		for _, w := range s.worlds(t, r, worldC+quoted) {
			check(t, w)
		}
	})
	t.Run("exec", func(t *testing.T) {
		s.start(t, r, "/opt/flipexec/flipexec exec "+listenHTTP+" -- "+worldC+quoted)
		defer stopWorld(t, r)
		check(t, takeWorld(t, r, "0"))
	})
}

// publicSignals is a mask without the two signals that glibc keeps to itself. Its
// posix_spawn(3), by which make starts us, leaves them ignored, and neither systemd
// nor anybody else can change that through sigaction(3).
func publicSignals(t *testing.T, mask string) string {
	t.Helper()
	bits, err := strconv.ParseUint(mask, 16, 64)
	if err != nil {
		t.Fatalf("signal mask: %v", err)
	}
	return fmt.Sprintf("%016x", bits&^(3<<31))
}
