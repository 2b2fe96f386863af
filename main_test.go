package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// flipexec runs the whole program but its exit. The manager does not answer and
// nothing runs, so that whatever passes for a start or a reload ends in row 1 of the
// handoff.
func flipexec(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if name == "NOTIFY_SOCKET" || name == "MAINPID" || strings.HasPrefix(name, "FLIPEXEC_") && !strings.HasPrefix(name, "FLIPEXEC_LISTEN") {
			t.Setenv(name, "") // restores it afterwards
			os.Unsetenv(name)
		}
	}
	dir := t.TempDir()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	t.Setenv("FLIPEXEC_RUNTIME_DIRECTORY", dir)
	var out, errs bytes.Buffer
	code = run(append([]string{"flipexec"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// checkRefusal wants one line on stderr, with want in it, and nothing on stdout.
func checkRefusal(t *testing.T, args []string, wantCode int, want string) {
	t.Helper()
	code, stdout, stderr := flipexec(t, args...)
	if code != wantCode {
		t.Errorf("%q: got exit code %d, want %d", args, code, wantCode)
	}
	if stdout != "" {
		t.Errorf("%q: stdout: got %q, want nothing", args, stdout)
	}
	if !strings.HasPrefix(stderr, "flipexec: ") || !strings.Contains(stderr, want) || strings.Index(stderr, "\n") != len(stderr)-1 {
		t.Errorf("%q: stderr: got %q, want one line with %q in it", args, stderr, want)
	}
}

func TestUsageErrorIsOneLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "no command; hint: flipexec [options] -- command"},
		{[]string{"--"}, "no command; hint: flipexec [options] -- command"},
		{[]string{"--listen", "tcp::80"}, "no command"},
		{[]string{"server"}, `unknown command "server"; hint: reload or exec, and the server's command behind --`},
		{[]string{"relaod"}, `unknown command "relaod"; hint: reload or exec`},
		{[]string{"help"}, `unknown command "help"`},
		{[]string{"h"}, `unknown command "h"`},
		{[]string{"server", "--", "x"}, `unknown command "server"`},
		{[]string{"--nosuch"}, "nosuch; hint: flipexec --help"},
		{[]string{"--pid-file", "/run/p", "exec", "--", "x"}, "--pid-file does not apply to exec"},
		{[]string{"--version", "reload"}, "--version stands alone"},
		{[]string{"--listen"}, "hint: flipexec --help"},
		{[]string{"--listen", "sctp::80", "--", "x"}, `--listen "sctp::80": unknown network "sctp"`},
		{[]string{"--listen", "tcp::80?backlgo=1", "--", "x"}, `--listen "tcp::80?backlgo=1": unknown option "backlgo"; hint: backlog`},
		{[]string{"--pid-file", "run/p", "--", "x"}, `--pid-file "run/p": not absolute`},
		{[]string{"--ready-timeout", "soon", "--", "x"}, `--ready-timeout "soon": is no duration`},
		{[]string{"--ready-timeout=", "--", "x"}, `--ready-timeout "": is no duration`},
		{[]string{"--stop-signal", "NONSENSE", "--", "x"}, `--stop-signal "NONSENSE": is no signal`},
		{[]string{"--drain-timeout", "-1s", "--", "x"}, `--drain-timeout "-1s": is no duration`},
		{[]string{"--ignore-sigpipe", "maybe", "--", "x"}, `--ignore-sigpipe "maybe": is neither yes nor no`},
		{[]string{"--fdstore=maybe", "--", "x"}, `--fdstore "maybe": is neither yes nor no`},
		{[]string{"--fdstore=", "--", "x"}, `--fdstore "": is neither yes nor no`},
		{[]string{"--fdstore", "no", "--", "x"}, `unknown command "no"`},
		{[]string{"--fdstore", "--foreground", "--", "x"}, "--fdstore: only systemd keeps sockets"},
		{[]string{"exec", "--fdstore", "--", "x"}, "fdstore; hint: flipexec --help"},
		{[]string{"--detach", "--", "x"}, "--detach: nobody would learn which process the server is; hint: --pid-file PATH"},
		{[]string{"--detach", "--foreground", "--pid-file", "/run/p", "--", "x"}, "--detach and --foreground exclude each other"},
		{[]string{"--export", "ngnix", "--", "x"}, `--export "ngnix": "ngnix" is not offered; hint: nghttpx, nginx`},
		{[]string{"--export", "nginx", "--export", "nginx", "--", "x"}, `--export "nginx": "nginx" comes twice`},
		{[]string{"reload", "--import", "nginx"}, "import; hint: flipexec --help"},
		{[]string{"exec", "--import", "apache", "--", "x"}, `--import "apache": "apache" is not offered; hint: gunicorn, nghttpx`},
		{[]string{"--name", "a/b", "--", "x"}, `--name "a/b": is no name`},
		{[]string{"--foreground", "reload"}, "--foreground does not apply to reload"},
		{[]string{"reload", "--"}, "reload: no command after --"},
		{[]string{"reload", "server"}, `unknown command "server"`},
		{[]string{"reload", "help"}, `unknown command "help"`},
		{[]string{"reload", "--nosuch"}, "nosuch; hint: flipexec --help"},
		{[]string{"reload", "--listen", "tcp:80"}, `--listen "tcp:80": missing port`},
		{[]string{"--pid-file", "run/p", "reload"}, `--pid-file "run/p": not absolute`},
		{[]string{"--pid-file", "/run/p", "reload", "--pid-file", "/run/q"}, "--pid-file stands before and behind the command"},
		{[]string{"--listen", "tcp::1", "reload", "--listen", "tcp::2"}, "--listen stands before and behind the command"},
		{[]string{"exec"}, "exec: no command; hint: flipexec exec [options] -- command"},
		{[]string{"exec", "--"}, "exec: no command"},
		{[]string{"exec", "server"}, `unknown command "server"`},
		{[]string{"exec", "--pid-file", "/run/p", "--", "x"}, "pid-file; hint: flipexec --help"},
		{[]string{"exec", "--listen", "http", "--", "x"}, `--listen "http": unknown network "http"`},
	} {
		checkRefusal(t, c.args, 2, c.want)
	}
}

func TestBadVariableIsAUsageErrorOfEveryCommand(t *testing.T) {
	t.Setenv("FLIPEXEC_LISTEN", "tcp::80 sctp::80")
	for _, args := range [][]string{{"--", "x"}, {"reload"}, {"exec", "--", "x"}} {
		checkRefusal(t, args, 2, `FLIPEXEC_LISTEN="sctp::80": unknown network "sctp"`)
	}
}

// What the command line means shows in what is missing for it.
func TestCommandLineMeansWhatItSays(t *testing.T) {
	const isStart, isReload = "start: NOTIFY_SOCKET: connect", "reload: nothing is running"
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"start", []string{"--", "server"}, 1, isStart},
		{"server called reload", []string{"--listen", "tcp::80", "--", "reload"}, 1, isStart},
		{"server called help", []string{"--", "help"}, 1, isStart},
		{"server called --help", []string{"--", "--help"}, 1, isStart},
		{"server with a second --", []string{"--", "server", "--", "reload"}, 1, isStart},
		{"reload", []string{"reload"}, 4, isReload},
		{"reload with another command", []string{"reload", "--", "server"}, 4, isReload},
		{"reload with options behind it", []string{"reload", "--stop-signal", "QUIT"}, 4, isReload},
		{"reload with options before it", []string{"--stop-signal", "QUIT", "reload"}, 4, isReload},
		{"reload with options on both sides", []string{"--stop-signal", "QUIT", "reload", "--listen", "tcp::1"}, 4, isReload},
		{"reload with an export", []string{"reload", "--export=nginx", "--export=server-starter"}, 4, isReload},
		{"start with an import", []string{"--import", "nginx", "--", "server"}, 1, isStart},
		{"exec of a server called reload", []string{"exec", "--", "reload-nosuch"}, 127, `exec: command "reload-nosuch": not found`},
		{"exec of a server called --version", []string{"exec", "--", "--version"}, 127, `exec: command "--version": not found`},
		{"exec of a file that is none", []string{"exec", "--", "/etc/passwd"}, 126, `exec: command "/etc/passwd": permission denied`},
		{"comma in a path", []string{"--listen", "unix:/run/a,b", "--", "server"}, 1, isStart},
		{"option without a value", []string{"--fdstore", "--listen", "tcp::1", "--", "server"}, 1, isStart},
		{"option with a value", []string{"reload", "--fdstore=no"}, 4, isReload},
		{"several listeners", []string{"--listen", "tcp::1", "--listen", "udp::1", "--", "server"}, 1, isStart},
	} {
		t.Run(c.name, func(t *testing.T) { checkRefusal(t, c.args, c.code, c.want) })
	}
}

func TestHelpIsTheUsageOnStdout(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"reload", "--help"}, {"exec", "--help"}, {"--help", "--", "server"}} {
		code, stdout, stderr := flipexec(t, args...)
		if code != 0 || stdout != usage || stderr != "" {
			t.Errorf("%q: got exit code %d, stdout %q, stderr %q, want 0, the usage, nothing", args, code, stdout, stderr)
		}
	}
}

func TestVersionIsOneLineOnStdout(t *testing.T) {
	version = "1.2.3"
	defer func() { version = "" }()
	code, stdout, stderr := flipexec(t, "--version")
	if want := "flipexec 1.2.3\n"; code != 0 || stdout != want || stderr != "" {
		t.Errorf("got exit code %d, stdout %q, stderr %q, want 0, %q, nothing", code, stdout, stderr, want)
	}
	version = ""
	if code, stdout, _ = flipexec(t, "--version"); code != 0 || !strings.HasPrefix(stdout, "flipexec ") || strings.TrimSpace(stdout) == "flipexec" {
		t.Errorf("from the build: got exit code %d, stdout %q, want a version", code, stdout)
	}
}

func TestCommandLineIsCutAtTheFirstDashes(t *testing.T) {
	for _, c := range []struct{ args, own, command []string }{
		{[]string{"f", "a"}, []string{"f", "a"}, nil},
		{[]string{"f", "--"}, []string{"f"}, []string{}},
		{[]string{"f", "a", "--", "b", "--", "c"}, []string{"f", "a"}, []string{"b", "--", "c"}},
	} {
		own, command := cut(c.args)
		if !slices.Equal(own, c.own) || !slices.Equal(command, c.command) || (command == nil) != (c.command == nil) {
			t.Errorf("%q: got %q, %q, want %q, %q", c.args, own, command, c.own, c.command)
		}
	}
}

func TestUsageNamesEveryOption(t *testing.T) {
	for _, flag := range append(newApp(nil, &bytes.Buffer{}).Flags, newApp(nil, &bytes.Buffer{}).Commands[0].Flags...) {
		if name := "  --" + flag.Names()[0]; !strings.Contains(usage, name) {
			t.Errorf("%q is missing", name)
		}
	}
}

func TestReadmeHasTheSameUsage(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(b), "\n## Usage\n")
	if !ok {
		t.Fatal("there is no section Usage")
	}
	_, block, ok := strings.Cut(section, "\n```")
	if !ok {
		t.Fatal("there is no code block in section Usage")
	}
	_, block, _ = strings.Cut(block, "\n") // the language
	block, _, _ = strings.Cut(block, "```")
	if block != usage {
		t.Errorf("got:\n%s\nwant:\n%s", block, usage)
	}
}
