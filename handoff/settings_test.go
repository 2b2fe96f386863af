package handoff

import (
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/flipexec/flipexec/notify"
)

// FuzzParseSignal: a signal is refused or one that can be sent, and comes back as it
// was. Invariant I10.
func FuzzParseSignal(f *testing.F) {
	for _, text := range []string{"TERM", "SIGTERM", "sigusr1", "15", "64", "65", "0", "-1", "SIG", "SIGSIGTERM", "RTMIN+1", "34", "IOT", "CLD"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sig, err := parseSignal(text)
		if err != nil {
			return
		}
		if again, err := parseSignal(signalName(sig)); err != nil || again != sig || sig < 1 || sig > 64 {
			t.Fatalf("%q is %d, and then %d, %v", text, sig, again, err)
		}
	})
}

// FuzzExtension: the time that a server asks for is none, or comes back as it was,
// and can be added to what we grant ourselves. Invariant I10.
func FuzzExtension(f *testing.F) {
	for _, text := range []string{"5000000", "0", "-1", "4503599627370495", "4503599627370496", "18446744073709551615", "1s", "", "+1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, ok := extension(notify.Message{{Key: "EXTEND_TIMEOUT_USEC", Value: text}})
		if !ok {
			return
		}
		if d < 0 || d+grace+3*publishTime < d || !time.Now().Add(d).After(time.Now().Add(-time.Hour)) {
			t.Fatalf("%q is %v", text, d)
		}
		if again, ok := extension(notify.Message{{Key: "EXTEND_TIMEOUT_USEC", Value: strconv.FormatInt(d.Microseconds(), 10)}}); !ok || again != d {
			t.Fatalf("%q is %v, and then %v, %v", text, d, again, ok)
		}
	})
}

// FuzzParseOptions: options are refused as usage and in one line, or are the same
// again when they are printed, whichever of them came from the environment.
// Invariant I10.
func FuzzParseOptions(f *testing.F) {
	f.Add("http=tcp::80", "unix:/run/a b", "/run/p", "5", "QUIT", "0", "no", "30s", "3", "nginx", "unicorn,gunicorn", uint16(0))
	f.Add("http=tcp::80", "tcp::81", "/run/p", "500ms", "sigusr1", "2m", "on", "30s", "3", "server-starter,nginx", "", uint16(0x1ff))
	f.Add("", "", "", "", "", "", "", "30s", "3", "", "", uint16(0x7ff))
	f.Add("a=tcp::1", "a=tcp::2", "run/p\n", "-1", "0", "x", "maybe", "30s", "3", "", "x", uint16(0))
	f.Add("tcp::1", "tcp::2", "run/p\n", "1s", "TERM", "1s", "yes", "30s", "3", "", "x", uint16(0))
	f.Add(" a=tcp::1  udp::2 ", "", "p", "1h", "64", "1ns", "1", "30s", "3", "nginx,nginx", "nginx", uint16(1|4))
	f.Fuzz(func(t *testing.T, listen, listen2, pidFile, ready, stop, drain, sigpipe, probation, most, export, importText string, fromEnv uint16) {
		var settings []Setting
		env := map[string]string{}
		for i, s := range []Setting{{"listen", listen}, {"listen", listen2}, {"pid-file", pidFile}, {"ready-timeout", ready},
			{"stop-signal", stop}, {"drain-timeout", drain}, {"ignore-sigpipe", sigpipe}, {"probation", probation}, {"max-draining", most},
			{"export", export}, {"import", importText}} {
			if fromEnv&(1<<i) != 0 {
				env[envName(s.Name)] = s.Value
			} else {
				settings = append(settings, s)
			}
		}
		o, err := ParseOptions(settings, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
		if err != nil {
			if ExitCode(err) != ExitUsage || !oneLine(err) {
				t.Fatalf("%q, %q: exit code %d, %q", settings, env, ExitCode(err), err)
			}
			return
		}
		again, err := ParseOptions(printOptions(o), func(string) (string, bool) { return "", false })
		if err != nil || !reflect.DeepEqual(again, o) {
			t.Fatalf("%q, %q is %+v, and then %+v, %v", settings, env, o, again, err)
		}
	})
}

// printOptions are the settings that say the same.
func printOptions(o Options) []Setting {
	sigpipe := map[bool]string{true: "yes", false: "no"}[o.IgnoreSIGPIPE]
	s := []Setting{{"ready-timeout", o.ReadyTimeout.String()}, {"stop-signal", signalName(o.StopSignal)},
		{"drain-timeout", o.DrainTimeout.String()}, {"ignore-sigpipe", sigpipe},
		{"probation", o.Probation.String()}, {"max-draining", strconv.Itoa(o.MaxDraining)}}
	for _, spec := range o.Listen {
		s = append(s, Setting{"listen", spec.String()})
	}
	for _, c := range o.Export {
		s = append(s, Setting{"export", string(c)})
	}
	if len(o.Import) > 0 {
		s = append(s, Setting{"import", conventionList(o.Import)})
	}
	if o.PIDFile != "" {
		s = append(s, Setting{"pid-file", o.PIDFile})
	}
	return s
}
