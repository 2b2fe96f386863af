//go:build linux

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/integration/rig"
)

// A setting is one way to start a server: the same unit with and without flipexec.
type setting struct {
	name    string
	lines   []string // for [Service]
	wrapper string   // before the command of ExecStart= and ExecReload=
	options string   // of flipexec; "" lets it inherit from web.socket
}

// listen is what webSocket says, as an option.
const listen = "--listen http=tcp::80"

const webSocket = "[Socket]\nListenStream=80\nFileDescriptorName=http\n"

var settings = []setting{
	{name: "as systemd does", options: listen},
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
		options: listen,
	},
	{
		name:    "another user",
		lines:   []string{"User=rig", "SupplementaryGroups=systemd-journal", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "PrivateTmp=no"},
		options: listen,
	},
	{name: "SIGPIPE not ignored", lines: []string{"IgnoreSIGPIPE=no"}, options: listen + " --ignore-sigpipe no"},
	{
		name:    "system call filter",
		lines:   []string{"NoNewPrivileges=yes", "SystemCallFilter=@system-service", "RestrictNamespaces=yes", "LockPersonality=yes", "KeyringMode=shared"},
		options: listen,
	},
}

// unit is a service without flipexec if command has none, else with it.
func (s setting) unit(start, reload string) string {
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

// stop ends web.service, and web.socket so that the next start binds for itself.
func stop(t *testing.T, r *rig.Rig) {
	t.Helper()
	must(t, r, "stop", "web.socket", "web.service")
}

// plainReport is what systemd alone makes of the setting.
func (s setting) plainReport(t *testing.T, r *rig.Rig, server string) report {
	t.Helper()
	if err := r.WriteUnit("web.socket", webSocket); err != nil {
		t.Fatal(err)
	}
	install(t, r, s.unit(server, "/bin/true"))
	must(t, r, "start", "web.socket", "web.service")
	defer stop(t, r)
	return takeReport(t, r, "0")
}

// start is systemctl start of a unit whose flipexec binds or inherits.
func (s setting) start(t *testing.T, r *rig.Rig, command string) {
	t.Helper()
	install(t, r, s.unit(command, "/opt/flipexec/flipexec reload"))
	if !strings.Contains(s.options, "--listen") {
		must(t, r, "start", "web.socket")
	}
	must(t, r, "start", "web.service")
}

// reports are those of generations 1 and 2.
func (s setting) reports(t *testing.T, r *rig.Rig, server string) []report {
	t.Helper()
	s.start(t, r, "/opt/flipexec/flipexec "+s.options+" -- "+server)
	defer stop(t, r)
	must(t, r, "reload", "web.service")
	return []report{takeReport(t, r, "1"), takeReport(t, r, "2")}
}

// TestServerSeesExactlyItsWorld is section 6 of the design, and invariant I7.
func TestServerSeesExactlyItsWorld(t *testing.T) {
	r := bootWorld(t)
	for _, s := range settings {
		for _, server := range reporters {
			t.Run(s.name+"/"+server.name, func(t *testing.T) {
				plain := s.plainReport(t, r, server.command)
				for i, ours := range s.reports(t, r, server.command) {
					generation := fmt.Sprint(i + 1)
					t.Run("generation "+generation, func(t *testing.T) {
						compare(t, plain, ours, ofFlipexec)
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
	r := bootWorld(t)
	for _, s := range settings {
		for _, server := range reporters {
			t.Run(s.name+"/"+server.name, func(t *testing.T) {
				plain := s.plainReport(t, r, server.command)
				s.start(t, r, "/opt/flipexec/flipexec exec "+s.options+" -- "+server.command)
				defer stop(t, r)
				compare(t, plain, takeReport(t, r, "0"), ofTheRun)
			})
		}
	}
}

// TestServerSeesOnlyPassedDescriptors has a shell leave descriptors open.
func TestServerSeesOnlyPassedDescriptors(t *testing.T) {
	r := bootWorld(t)
	const stray = `/bin/sh -c 'exec 251</dev/null 3</dev/null 4</proc; exec /opt/flipexec/flipexec "$$@"' sh `
	s := setting{}
	for _, server := range reporters {
		for _, tc := range []struct{ name, command, generation string }{
			{"started", stray + listen + " -- " + server.command, "1"},
			{"reloaded", stray + listen + " -- " + server.command, "2"},
			{"exec", stray + "exec " + listen + " -- " + server.command, "0"},
		} {
			t.Run(tc.name+"/"+server.name, func(t *testing.T) {
				install(t, r, s.unit(tc.command, stray+"reload"))
				must(t, r, "start", "web.service")
				defer stop(t, r)
				if tc.generation == "2" {
					must(t, r, "reload", "web.service")
				}
				w := takeReport(t, r, tc.generation)
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
	r := bootWorld(t)
	for _, tc := range []struct {
		setting
		ignored, blocked string
	}{
		{setting{name: "SIGPIPE is ignored", options: listen}, "0000000000001000", "0000000000000000"},
		{setting{name: "IgnoreSIGPIPE=no", lines: []string{"IgnoreSIGPIPE=no"}, options: listen + " --ignore-sigpipe no"}, "0000000000000000", "0000000000000000"},
		{setting{name: "blocked by a wrapper", wrapper: "/usr/bin/env --block-signal=USR1 ", options: listen}, "0000000000001000", "0000000000000200"},
	} {
		check := func(t *testing.T, w report) {
			for key, want := range map[string]string{
				"status.SigIgn": tc.ignored, "status.SigBlk": tc.blocked, "status.SigCgt": "0000000000000000",
			} {
				if got := w[key]; got != want {
					t.Errorf("%s: got %q, want %q", key, got, want)
				}
			}
		}
		t.Run(tc.name, func(t *testing.T) {
			check(t, tc.plainReport(t, r, worldC))
			for _, w := range tc.reports(t, r, worldC) {
				check(t, w)
			}
		})
		t.Run(tc.name+"/exec", func(t *testing.T) {
			tc.start(t, r, "/opt/flipexec/flipexec exec "+tc.options+" -- "+worldC)
			defer stop(t, r)
			check(t, takeReport(t, r, "0"))
		})
	}
}

// TestServerGetsItsArgumentsByteForByte has what a shell, a command line library or a
// text protocol could change.
func TestServerGetsItsArgumentsByteForByte(t *testing.T) {
	r := bootWorld(t)
	s := setting{options: listen}
	const quoted = ` "" "a b" -- reload --listen=x "\xff\xfe" "\t\n" '"' "\\" $$HOME %%n "" -- --help ""`
	want := []string{worldC, "", "a b", "--", "reload", "--listen=x", `\xff\xfe`, `\x09\x0a`, `"`, `\x5c`, "$HOME", "%n", "", "--", "--help", ""}
	check := func(t *testing.T, w report) {
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
	t.Run("without flipexec", func(t *testing.T) { check(t, s.plainReport(t, r, worldC+quoted)) })
	t.Run("generations", func(t *testing.T) {
		for _, w := range s.reports(t, r, worldC+quoted) {
			check(t, w)
		}
	})
	t.Run("exec", func(t *testing.T) {
		s.start(t, r, "/opt/flipexec/flipexec exec "+listen+" -- "+worldC+quoted)
		defer stop(t, r)
		check(t, takeReport(t, r, "0"))
	})
}

