package handoff_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/handoff"
	"golang.org/x/sys/unix"
)

func lookupIn(env ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, entry := range env {
			if v, ok := strings.CutPrefix(entry, name+"="); ok {
				return v, true
			}
		}
		return "", false
	}
}

func specs(t *testing.T, texts ...string) []activation.Spec {
	t.Helper()
	var specs []activation.Spec
	for _, text := range texts {
		s, err := activation.ParseSpec(text)
		if err != nil {
			t.Fatal(err)
		}
		specs = append(specs, s)
	}
	return specs
}

func TestCommandLineComesBeforeEnvironmentBeforeDefault(t *testing.T) {
	defaults := handoff.Options{ReadyTimeout: time.Minute, StopSignal: unix.SIGTERM, DrainTimeout: 90 * time.Second, IgnoreSIGPIPE: true}
	for _, c := range []struct {
		name     string
		settings []handoff.Setting
		env      []string
		want     func(o *handoff.Options)
	}{
		{"nothing", nil, nil, func(o *handoff.Options) {}},
		{"other variables", nil, []string{"LISTEN=tcp::1", "FLIPEXEC_GENERATION=3"}, func(o *handoff.Options) {}},
		{"empty variables", nil, []string{"FLIPEXEC_LISTEN=", "FLIPEXEC_PID_FILE=", "FLIPEXEC_READY_TIMEOUT=", "FLIPEXEC_STOP_SIGNAL=",
			"FLIPEXEC_DRAIN_TIMEOUT=", "FLIPEXEC_IGNORE_SIGPIPE="}, func(o *handoff.Options) {}},
		{"environment", nil, []string{"FLIPEXEC_LISTEN= a=tcp::1  udp::2 ", "FLIPEXEC_PID_FILE=/run/p", "FLIPEXEC_READY_TIMEOUT=5",
			"FLIPEXEC_STOP_SIGNAL=QUIT", "FLIPEXEC_DRAIN_TIMEOUT=0", "FLIPEXEC_IGNORE_SIGPIPE=no", "FLIPEXEC_PROBATION=1m", "FLIPEXEC_MAX_DRAINING=3",
			"FLIPEXEC_EXPORT=nginx,server-starter", "FLIPEXEC_IMPORT=unicorn"}, func(o *handoff.Options) {
			*o = handoff.Options{Listen: specs(t, "a=tcp::1", "udp::2"), PIDFile: "/run/p", ReadyTimeout: 5 * time.Second, Probation: time.Minute,
				StopSignal: unix.SIGQUIT, MaxDraining: 3,
				Export: []activation.Convention{"nginx", "server-starter"}, Import: []activation.Convention{"unicorn"}}
		}},
		{"command line", []handoff.Setting{{"ready-timeout", "500ms"}, {"listen", "udp::9"}, {"listen", ""}, {"listen", "unix:/run/a b,c"}, {"drain-timeout", "2m"}, {"listen", "tcp::1"},
			{"pid-file", "/run/q"}, {"ignore-sigpipe", "off"}, {"stop-signal", "sigusr1"}, {"export", "php-fpm,nghttpx"}, {"export", "nginx"}, {"import", ""}}, []string{"FLIPEXEC_IMPORT=nginx"}, func(o *handoff.Options) {
			*o = handoff.Options{Listen: specs(t, "unix:/run/a b,c", "tcp::1"), PIDFile: "/run/q", ReadyTimeout: 500 * time.Millisecond,
				StopSignal: unix.SIGUSR1, DrainTimeout: 2 * time.Minute,
				Export: []activation.Convention{"php-fpm", "nghttpx", "nginx"}}
		}},
		{"both", []handoff.Setting{{"listen", "tcp::1"}, {"stop-signal", "HUP"}},
			[]string{"FLIPEXEC_LISTEN=tcp::2", "FLIPEXEC_STOP_SIGNAL=QUIT", "FLIPEXEC_DRAIN_TIMEOUT=1s"}, func(o *handoff.Options) {
				o.Listen, o.StopSignal, o.DrainTimeout = specs(t, "tcp::1"), unix.SIGHUP, time.Second
			}},
		{"a wrong variable behind the command line", []handoff.Setting{{"stop-signal", "HUP"}}, []string{"FLIPEXEC_STOP_SIGNAL=NONSENSE"},
			func(o *handoff.Options) { o.StopSignal = unix.SIGHUP }},
		{"the last one counts", []handoff.Setting{{"stop-signal", "HUP"}, {"stop-signal", "INT"}}, nil,
			func(o *handoff.Options) { o.StopSignal = unix.SIGINT }},
	} {
		want := defaults
		c.want(&want)
		got, err := handoff.ParseOptions(c.settings, lookupIn(c.env...))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, err, want)
		}
	}
}

// TestBadValueIsRefusedByOptionOrVariable: invariant I10, for options.
func TestBadValueIsRefusedByOptionOrVariable(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"listen", "sctp::1", "unknown network"},
		{"listen", "tcp::65536", `port "65536"`},
		{"export", "ngnix", `"ngnix" is not offered; hint: nghttpx, nginx, php-fpm, server-starter`},
		{"export", "unicorn", `"unicorn" is not offered`},
		{"export", "nginx,nginx", `"nginx" comes twice`},
		{"import", "nginx;", `"nginx;" is not offered; hint: gunicorn, `},
		{"pid-file", "run/p", `not absolute; hint: "/run/run/p"`},
		{"pid-file", "", "not absolute"},
		{"ready-timeout", "0", "is no duration"},
		{"ready-timeout", "-1s", "is no duration"},
		{"ready-timeout", "soon", "is no duration"},
		{"ready-timeout", "", "is no duration"},
		{"ready-timeout", "10ns", "at least 1ms"},
		{"drain-timeout", "-1", "is no duration"},
		{"drain-timeout", "1 m", "is no duration"},
		{"drain-timeout", "99999999999999999999", "is no duration"},
		{"probation", "-1s", "is no duration"},
		{"max-draining", "-1", "is no number from 0 to 65535"},
		{"max-draining", "65536", "is no number"},
		{"max-draining", "", "is no number"},
		{"stop-signal", "", "is no signal"},
		{"stop-signal", "0", "is no signal"},
		{"stop-signal", "65", "is no signal"},
		{"stop-signal", "-15", "is no signal"},
		{"stop-signal", "NONSENSE", "is no signal"},
		{"stop-signal", "SIG", "is no signal"},
		{"ignore-sigpipe", "maybe", "is neither yes nor no"},
		{"ignore-sigpipe", "", "is neither yes nor no"},
		{"fdstore", "maybe", "is neither yes nor no"},
		{"fdstore", "", "is neither yes nor no"},
	} {
		_, err := handoff.ParseOptions([]handoff.Setting{{Name: c.name, Value: c.value}}, lookupIn())
		checkUsage(t, err, `--`+c.name+" "+quote(c.value)+": ", c.want)
		if c.value == "" {
			continue // an empty variable is none
		}
		variable := "FLIPEXEC_" + strings.ToUpper(strings.ReplaceAll(c.name, "-", "_"))
		_, err = handoff.ParseOptions(nil, lookupIn(variable+"="+c.value))
		checkUsage(t, err, variable+"="+quote(c.value)+": ", c.want)
	}
}

func TestDuplicateNameIsRefused(t *testing.T) {
	_, err := handoff.ParseOptions([]handoff.Setting{{"listen", "a=tcp::1"}, {"listen", "tcp::2"}, {"listen", "tcp::3"}, {"listen", "a=udp::1"}}, lookupIn())
	checkUsage(t, err, "--listen: ", `duplicate name "a"`)
	_, err = handoff.ParseOptions(nil, lookupIn("FLIPEXEC_LISTEN=a=tcp::1 a=udp::1"))
	checkUsage(t, err, "FLIPEXEC_LISTEN: ", `duplicate name "a"`)
}

func quote(s string) string { return `"` + s + `"` }

// checkUsage wants a usage error of one line that names its origin and reason.
func checkUsage(t *testing.T, err error, origin, reason string) {
	t.Helper()
	if handoff.ExitCode(err) != handoff.ExitUsage {
		t.Errorf("%s %s: got exit code %d, want %d", origin, reason, handoff.ExitCode(err), handoff.ExitUsage)
		return
	}
	text := err.Error()
	if !strings.HasPrefix(text, origin) || !strings.Contains(text, reason) || strings.Contains(text, "\n") {
		t.Errorf("got %q, want one line that begins with %q and has %q in it", text, origin, reason)
	}
}

func TestSettingOfALaterVersionIsRefusedByName(t *testing.T) {
	_, err := handoff.ParseOptions([]handoff.Setting{{Name: "colour", Value: "blue"}}, lookupIn())
	checkUsage(t, err, "--colour: ", "unknown option of the running generation")
}

func TestSignalsHaveAllTheirSpellings(t *testing.T) {
	for text, want := range map[string]unix.Signal{
		"TERM": unix.SIGTERM, "SIGTERM": unix.SIGTERM, "term": unix.SIGTERM, "SigTerm": unix.SIGTERM, "15": unix.SIGTERM,
		"USR1": unix.SIGUSR1, "sigusr2": unix.SIGUSR2, "HUP": unix.SIGHUP, "1": unix.SIGHUP,
		"QUIT": unix.SIGQUIT, "WINCH": unix.SIGWINCH, "34": 34, "64": 64,
	} {
		o, err := handoff.ParseOptions([]handoff.Setting{{Name: "stop-signal", Value: text}}, lookupIn())
		if err != nil || o.StopSignal != want {
			t.Errorf("%q: got %v, %v, want %v", text, o.StopSignal, err, want)
		}
	}
}

func TestDurationsAreGoOrWholeSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "90": 90 * time.Second, "1m30s": 90 * time.Second, "1.5s": 1500 * time.Millisecond, "500ms": 500 * time.Millisecond, "2h": 2 * time.Hour,
	} {
		o, err := handoff.ParseOptions([]handoff.Setting{{Name: "drain-timeout", Value: text}}, lookupIn())
		if err != nil || o.DrainTimeout != want {
			t.Errorf("%q: got %v, %v, want %v", text, o.DrainTimeout, err, want)
		}
	}
}

func TestYesAndNoAreThoseOfSystemd(t *testing.T) {
	for want, texts := range map[bool]string{true: "1 yes y true t on YES True", false: "0 no n false f off NO Off"} {
		for _, text := range strings.Fields(texts) {
			o, err := handoff.ParseOptions([]handoff.Setting{{Name: "ignore-sigpipe", Value: text}}, lookupIn())
			if err != nil || o.IgnoreSIGPIPE != want {
				t.Errorf("%q: got %v, %v, want %v", text, o.IgnoreSIGPIPE, err, want)
			}
		}
	}
}

func TestExitCodeIsThatOfTheCause(t *testing.T) {
	busy := &handoff.Error{Code: handoff.ExitBusy, Err: errors.New("x")}
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"none":    {nil, 0},
		"any":     {errors.New("x"), handoff.ExitFailed},
		"coded":   {busy, 3},
		"wrapped": {errors.Join(errors.New("y"), busy), 3},
	} {
		if got := handoff.ExitCode(c.err); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}
