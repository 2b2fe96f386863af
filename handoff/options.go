package handoff

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/notation"
	"golang.org/x/sys/unix"
)

// Options are a generation's own: those it started with hold until it is gone,
// its drain included.
type Options struct {
	Listen        []activation.Spec
	PIDFile       string        // absolute, "" for none
	ReadyTimeout  time.Duration // from start to READY=1
	Probation     time.Duration // from there to the commit, both generations serve
	StopSignal    unix.Signal   // tells a replaced server to finish
	DrainTimeout  time.Duration // from the stop signal to SIGKILL, 0: no limit
	MaxDraining   int           // generations that drain at once, 0: no limit
	IgnoreSIGPIPE bool          // what IgnoreSIGPIPE= of systemd.exec(5) says
	Detach        bool          // nobody follows the main PID but by the PID file
	FDStore       bool          // the manager keeps the sockets for the next run of the unit

	Export []activation.Convention // that the server reads, beside LISTEN_FDS
	Import []activation.Convention // of a start: by which a predecessor passes sockets on

	Foreground bool   // of a start: stay in front
	Name       string // of the instance, "" for the command's
}

// An option is set from text. Listen, Export and Import may be set more than once.
type option struct {
	name, initial string
	set           func(*Options, string) error
}

var options = []option{
	{"listen", "", (*Options).setListen},
	{"export", "", (*Options).setExport},
	{"import", "", (*Options).setImport},
	{"pid-file", "", (*Options).setPIDFile},
	{"ready-timeout", "60s", func(o *Options, v string) (err error) {
		o.ReadyTimeout, err = notation.Duration(v, time.Millisecond)
		return err
	}},
	{"probation", "0", func(o *Options, v string) (err error) {
		o.Probation, err = notation.Duration(v, 0)
		return err
	}},
	{"stop-signal", "TERM", func(o *Options, v string) (err error) {
		o.StopSignal, err = parseSignal(v)
		return err
	}},
	{"drain-timeout", "90s", func(o *Options, v string) (err error) {
		o.DrainTimeout, err = notation.Duration(v, 0)
		return err
	}},
	{"max-draining", "0", func(o *Options, v string) (err error) {
		o.MaxDraining, err = parseCount(v)
		return err
	}},
	{"ignore-sigpipe", "yes", func(o *Options, v string) (err error) {
		o.IgnoreSIGPIPE, err = notation.Bool(v)
		return err
	}},
	{"detach", "no", func(o *Options, v string) (err error) {
		o.Detach, err = notation.Bool(v)
		return err
	}},
	{"foreground", "no", func(o *Options, v string) (err error) {
		o.Foreground, err = notation.Bool(v)
		return err
	}},
	{"fdstore", "", func(o *Options, v string) (err error) {
		o.FDStore, err = notation.Bool(v)
		return err
	}},
	{"name", "", func(o *Options, v string) error {
		o.Name = v
		return checkName(v)
	}},
}

// ParseOptions evaluates settings, then the environment, then the defaults. An
// error has ExitUsage and names the option or the variable.
func ParseOptions(settings []Setting, lookup func(string) (string, bool)) (Options, error) {
	o, err := parseOptions(settings, lookup)
	if err != nil {
		return o, &Error{ExitUsage, err}
	}
	return o, nil
}

func parseOptions(settings []Setting, lookup func(string) (string, bool)) (o Options, err error) {
	for _, opt := range options {
		origin, values := opt.given(settings, lookup)
		for _, v := range values {
			if err := opt.set(&o, v); err != nil {
				return o, fmt.Errorf("%s%q: %w", origin, v, err)
			}
		}
		if opt.name == "fdstore" && values == nil { // the manager says whether it can be
			o.FDStore = hasStore(lookup) && !o.Detach && !o.Foreground
		}
		if opt.name != "listen" {
			continue
		}
		if err := checkListen(o.Listen); err != nil { // once: there may be thousands
			return o, fmt.Errorf("%s: %w", strings.TrimRight(origin, " ="), err)
		}
	}
	if err := checkKnown(settings); err != nil {
		return o, err
	}
	if o.FDStore && (o.Detach || o.Foreground) {
		return o, errNoStore
	}
	return o, o.checkDetach(lookup)
}

var errNoStore = errors.New("--fdstore: only systemd keeps sockets, and only for the process that it follows; hint: Type=notify, without --foreground and --detach")

// given is what the first source that has the option says, and that source as a
// message names it.
func (opt option) given(settings []Setting, lookup func(string) (string, bool)) (origin string, values []string) {
	for _, s := range settings {
		if s.Name == opt.name {
			values = append(values, s.Value)
		}
	}
	if values != nil {
		return "--" + opt.name + " ", values
	}
	env := envName(opt.name)
	value, _ := lookup(env)
	switch {
	case value != "" && opt.name == "listen": // several specs; one that needs a blank can be given as an option
		return env + "=", strings.Fields(value)
	case value != "":
		return env + "=", []string{value}
	case opt.initial != "":
		return "", []string{opt.initial}
	}
	return "", nil
}

// checkDetach wants a PID file for a server that nobody is told of otherwise. That
// of the unit will do, which systemd names in PIDFILE.
func (o *Options) checkDetach(lookup func(string) (string, bool)) error {
	if !o.Detach {
		return nil
	}
	if o.Foreground {
		return errors.New("--detach and --foreground exclude each other")
	}
	if path, _ := lookup("PIDFILE"); o.PIDFile == "" && path != "" {
		if err := o.setPIDFile(path); err != nil {
			return fmt.Errorf("PIDFILE=%q: %w", path, err)
		}
	}
	if o.PIDFile == "" {
		return errors.New("--detach: nobody would learn which process the server is; hint: --pid-file PATH")
	}
	return nil
}

// envName is the environment variable for an option.
func envName(option string) string {
	return "FLIPEXEC_" + strings.ToUpper(strings.ReplaceAll(option, "-", "_"))
}

// hasStore reports whether the manager says that it keeps descriptors.
func hasStore(lookup func(string) (string, bool)) bool {
	text, _ := lookup("FDSTORE")
	n, ok := storeRoom(text)
	return ok && n > 0
}

// setListen adds a spec. An empty one takes back those before it, as an empty assignment in a
// unit does: without, a reload could leave no socket out that is the last.
func (o *Options) setListen(text string) error {
	if text == "" {
		o.Listen = nil
		return nil
	}
	spec, err := activation.ParseSpec(text)
	if err != nil {
		return err
	}
	o.Listen = append(o.Listen, spec)
	return nil
}

// checkListen finds what is wrong with all specs together, as far as they alone tell.
func checkListen(specs []activation.Spec) error {
	if err := activation.CheckNames(specs); err != nil {
		return err
	}
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name // which is not known yet where it gives none
	}
	return checkNamesFit(names)
}

func (o *Options) setPIDFile(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("not absolute; hint: %q", filepath.Join("/run", path))
	}
	o.PIDFile = path
	return nil
}

// parseCount takes a number from 0 on.
func parseCount(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("is no number from 0 to %d", math.MaxUint16)
	}
	return int(n), nil
}

// parseSignal takes TERM, SIGTERM or 15.
func parseSignal(text string) (unix.Signal, error) {
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n <= 64 {
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("is no signal; hint: TERM, QUIT, USR1 or a number")
}

// signalName is TERM for SIGTERM.
func signalName(sig unix.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return strconv.Itoa(int(sig))
}
