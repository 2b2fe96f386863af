package handoff

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// A Setting is one option as a command line gave it. A reload takes over the
// settings of the running generation that its own command line does not make;
// what the environment says (FLIPEXEC_READY_TIMEOUT for ready-timeout) is read
// afresh by each generation and stands behind every command line.
type Setting struct{ Name, Value string }

// set evaluates one setting.
func (o *Options) set(name, value string) error {
	i := slices.IndexFunc(options, func(opt option) bool { return opt.name == name })
	if i < 0 {
		return errors.New("unknown option")
	}
	return options[i].set(o, value)
}

// finishing is how a generation wants to be finished, as settings.
func (o Options) finishing() []Setting {
	return []Setting{{"stop-signal", signalName(o.StopSignal)}, {"drain-timeout", o.DrainTimeout.String()}}
}

func checkKnown(settings []Setting) error {
	for _, s := range settings {
		known := false
		for _, opt := range options {
			known = known || opt.name == s.Name
		}
		if !known {
			return fmt.Errorf("--%s: unknown option of the running generation", s.Name)
		}
	}
	return nil
}

// inherit adds the settings of the running generation that own does not make.
func inherit(own, running []Setting) []Setting {
	made := map[string]bool{}
	for _, s := range own {
		made[s.Name] = true
	}
	merged := append([]Setting(nil), own...)
	for _, r := range running {
		if !made[r.Name] {
			merged = append(merged, r)
		}
	}
	return merged
}

// withSIGPIPE decides for a server that systemd does not start: there SIGPIPE is
// ignored only if somebody asks for that.
func withSIGPIPE(settings []Setting, env []string) []Setting {
	const name = "ignore-sigpipe"
	made := slices.ContainsFunc(settings, func(s Setting) bool { return s.Name == name })
	if made || value(env, envName(name)) != "" || bySystemd(env, os.Getpid()) {
		return settings
	}
	return append(slices.Clone(settings), Setting{name, "no"})
}
