package handoff

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReloadKeepsWhatItsLineDoesNotSay(t *testing.T) {
	running := []Setting{{"listen", "tcp::1"}, {"listen", "tcp::2"}, {"stop-signal", "QUIT"}, {"pid-file", "/run/p"}}
	for name, c := range map[string]struct{ own, want []Setting }{
		"nothing":    {nil, running},
		"one option": {[]Setting{{"stop-signal", "TERM"}}, []Setting{{"stop-signal", "TERM"}, {"listen", "tcp::1"}, {"listen", "tcp::2"}, {"pid-file", "/run/p"}}},
		"listeners":  {[]Setting{{"listen", "tcp::3"}}, []Setting{{"listen", "tcp::3"}, {"stop-signal", "QUIT"}, {"pid-file", "/run/p"}}},
		"new option": {[]Setting{{"drain-timeout", "0"}}, append([]Setting{{"drain-timeout", "0"}}, running...)},
	} {
		if got := inherit(c.own, running); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	if got, want := inherit([]Setting{{"listen", "tcp::1"}}, nil), []Setting{{"listen", "tcp::1"}}; !slices.Equal(got, want) {
		t.Errorf("at a start: got %v, want %v", got, want)
	}
}

func TestSignalsAreNamedAsTheyAreWritten(t *testing.T) {
	for sig, want := range map[unix.Signal]string{unix.SIGTERM: "TERM", unix.SIGKILL: "KILL", unix.SIGUSR1: "USR1", 40: "40"} {
		if got := signalName(sig); got != want {
			t.Errorf("signal %d: got %q, want %q", int(sig), got, want)
		}
		if back, err := parseSignal(signalName(sig)); err != nil || back != sig {
			t.Errorf("signal %d: came back as %d, %v", int(sig), int(back), err)
		}
	}
}
