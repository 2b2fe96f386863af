// flipexec starts a server under systemd and replaces it without losing a
// connection. See the README, or run flipexec --help.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"

	"github.com/flipexec/flipexec/handoff"
	"github.com/urfave/cli/v2"
)

// version is set by the linker for releases; go install leaves it to the build
// information.
var version = ""

func main() {
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

// run is the only place that prints errors and decides the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	own, command := cut(args)
	err := newApp(command, stdout).Run(own)
	if err != nil {
		fmt.Fprintf(stderr, "flipexec: %v\n", err)
	}
	return handoff.ExitCode(err)
}

// cut splits the command line at the first "--". The CLI library never sees what
// stands behind it: it would take a server called reload for our own command.
// The command is nil if there is no "--".
func cut(args []string) (own, command []string) {
	i := slices.Index(args, "--")
	if i < 0 {
		return args, nil
	}
	return args[:i], append([]string{}, args[i+1:]...)
}

func newApp(command []string, stdout io.Writer) *cli.App {
	all := []string{"listen", "export", "pid-file", "ready-timeout", "probation", "stop-signal", "drain-timeout", "max-draining", "ignore-sigpipe", "fdstore", "name"}
	app := &cli.App{
		Name:                      "flipexec",
		Writer:                    stdout,
		ErrWriter:                 io.Discard, // run prints errors
		HideHelpCommand:           true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true, // a comma may be part of a path
		CustomAppHelpTemplate:     usage,
		ExitErrHandler:            func(*cli.Context, error) {}, // run decides
		OnUsageError:              usageError,
		Flags: append(flags(append(all, "import", "foreground", "detach")...),
			&cli.BoolFlag{Name: "version"}),
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				_, err := fmt.Fprintln(stdout, "flipexec", versionText())
				return err
			}
			return action(start).run("start", command)(c)
		},
		Commands: []*cli.Command{{
			Name:   "reload",
			Flags:  flags(all...),
			Action: action(reload).run("reload", command),
		}, {
			Name:   "exec",
			Flags:  flags("listen", "export", "import", "ignore-sigpipe"),
			Action: action(execute).run("exec", command),
		}},
	}
	for _, cmd := range app.Commands {
		cmd.HideHelpCommand, cmd.OnUsageError, cmd.CustomHelpTemplate = true, usageError, usage
	}
	return app
}

// flags declares options by name; package handoff evaluates them.
func flags(names ...string) (fs []cli.Flag) {
	for _, name := range names {
		switch name {
		case "listen", "export", "import":
			fs = append(fs, &cli.StringSliceFlag{Name: name})
		case "foreground", "detach":
			fs = append(fs, &cli.BoolFlag{Name: name})
		case "fdstore":
			fs = append(fs, &cli.GenericFlag{Name: name, Value: new(optionalValue)})
		default:
			fs = append(fs, &cli.StringFlag{Name: name})
		}
	}
	return fs
}

// An optionalValue is that of an option which may stand alone.
type optionalValue string

func (v *optionalValue) Set(text string) error {
	*v = optionalValue(text)
	return nil
}

func (v *optionalValue) String() string { return string(*v) }

// IsBoolFlag has package flag, on which the library is built, set "true" if no "=" follows.
func (v *optionalValue) IsBoolFlag() bool { return true }

// An action does what one command says.
type action func(settings []handoff.Setting, command []string) error

// run reads the options for do, and says in errors which command it was.
func (do action) run(name string, command []string) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := noMore(c); err != nil {
			return err
		}
		s, err := settings(c)
		if err != nil {
			return err
		}
		if err := do(s, command); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
}

func start(settings []handoff.Setting, command []string) error {
	if len(command) == 0 {
		return usageErrorf("no command; hint: flipexec [options] -- command, see flipexec --help")
	}
	if handoff.InForeground(settings) {
		return handoff.Foreground(settings, command) // comes back only with an error
	}
	return handoff.Start(settings, command)
}

func reload(settings []handoff.Setting, command []string) error {
	if command != nil && len(command) == 0 {
		return usageErrorf("no command after --; hint: leave -- out to keep the command")
	}
	return handoff.Reload(settings, command)
}

func execute(settings []handoff.Setting, command []string) error {
	if len(command) == 0 {
		return usageErrorf("no command; hint: flipexec exec [options] -- command")
	}
	return handoff.Exec(settings, command) // comes back only with an error
}

// noMore refuses words that are neither options nor behind "--".
func noMore(c *cli.Context) error {
	if c.NArg() == 0 {
		return nil
	}
	return usageErrorf("unknown command %q; hint: reload or exec, and the server's command behind --", c.Args().First())
}

// settings collects what the command line says, wherever it says it: the library
// lets an option of the command hide the same one before it.
func settings(c *cli.Context) ([]handoff.Setting, error) {
	var all []handoff.Setting
	seen := map[string]bool{}
	for _, level := range c.Lineage() {
		if level.Command == nil {
			continue
		}
		for _, name := range level.LocalFlagNames() {
			if name == "version" {
				return nil, usageErrorf("--version stands alone")
			}
			if !declares(c.Command, name) {
				return nil, usageErrorf("--%s does not apply to %s", name, c.Command.Name)
			}
			values := []string{level.String(name)}
			if slice := level.StringSlice(name); slice != nil {
				values = slice
			}
			if seen[name] {
				return nil, usageErrorf("--%s stands before and behind the command; hint: say it once", name)
			}
			seen[name] = true
			for _, v := range values {
				all = append(all, handoff.Setting{Name: name, Value: v})
			}
		}
	}
	_, err := handoff.ParseOptions(all, os.LookupEnv)
	return all, err
}

// declares reports whether the command has this option itself; the library would
// take it in front of every command.
func declares(cmd *cli.Command, name string) bool {
	return slices.ContainsFunc(cmd.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

func usageError(_ *cli.Context, err error, _ bool) error {
	return &handoff.Error{Code: handoff.ExitUsage, Err: fmt.Errorf("%w; hint: flipexec --help", err)}
}

func usageErrorf(format string, args ...any) error {
	return &handoff.Error{Code: handoff.ExitUsage, Err: fmt.Errorf(format, args...)}
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown version)"
}
