package activation_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// samples has two values of each option with what the kernel makes of them, and a
// socket to try them on. The last value is what it has without.
var samples = []struct{ option, socket, one, oneIs, two, twoIs, none string }{
	{"reuseport", "tcp:127.0.0.1:0", "no", "0", "yes", "1", "0"},
	{"freebind", "tcp:127.0.0.1:0", "yes", "1", "no", "0", "0"},
	{"freebind", "udp6:[::1]:0", "yes", "1", "no", "0", "0"},
	{"transparent", "tcp:127.0.0.1:0", "yes", "1", "no", "0", "0"},
	{"transparent", "tcp::0", "yes", "1", "no", "0", "0"},
	{"device", "tcp:127.0.0.1:0", "lo", "lo", "lo", "lo", "0"},
	{"mark", "udp:127.0.0.1:0", "5", "5", "0xffffffff", "4294967295", "0"},
	{"rcvbuf", "udp:127.0.0.1:0", "64K", "65536", "1M", "1048576", "automatic"},
	{"rcvbuf", "netlink:kobject-uevent:1", "64K", "65536", "16M", "16777216", "automatic"},
	{"sndbuf", "tcp:127.0.0.1:0", "64K", "65536", "1M", "1048576", "automatic"},
	{"pipesize", "fifo:PATH", "128K", "131072", "100000", "131072", "65536"},
	{"tos", "tcp:127.0.0.1:0", "low-delay", "16", "8", "8", "0"},
	{"tos", "tcp::0", "0x04", "4", "throughput", "8", "0"},
	{"priority", "tcp:127.0.0.1:0", "3", "3", "6", "6", "0"},
	{"ttl", "udp:127.0.0.1:0", "1", "1", "255", "255", "64"},
	{"ttl", "tcp::0", "1", "1", "255", "255", "64"},
	{"broadcast", "udp:127.0.0.1:0", "yes", "1", "no", "0", "0"},
	{"nodelay", "tcp:127.0.0.1:0", "yes", "1", "no", "0", "0"},
	{"keepalive", "tcp:127.0.0.1:0", "on", "1", "off", "0", "0"},
	{"keepalivetime", "tcp:127.0.0.1:0", "60", "60", "2m", "120", "7200"},
	{"keepaliveinterval", "tcp:127.0.0.1:0", "5s", "5", "10", "10", "75"},
	{"keepaliveprobes", "tcp:127.0.0.1:0", "3", "3", "5", "5", "9"},
	{"deferaccept", "tcp:127.0.0.1:0", "3s", "3", "5s", "7", "0"}, // in retransmissions
	{"fastopen", "tcp:127.0.0.1:0", "16", "16", "32", "32", "0"},
	{"congestion", "tcp:127.0.0.1:0", "reno", "reno", "reno", "reno", ""},
	{"passcred", "unix:@options", "yes", "1", "no", "0", "0"},
	{"passpidfd", "unixgram:@options", "yes", "1", "no", "0", "0"},
	{"passsec", "unix:@options", "yes", "1", "no", "0", "0"},
	{"acceptfiledescriptors", "unix:@options", "no", "0", "yes", "1", "1"},
	{"passpacketinfo", "udp:127.0.0.1:0", "yes", "1", "no", "0", "0"},
	{"passpacketinfo", "udp6:[::1]:0", "yes", "1", "no", "0", "0"},
	{"passpacketinfo", "netlink:kobject-uevent:1", "yes", "1", "no", "0", "0"},
	{"timestamping", "udp:127.0.0.1:0", "us", "1", "ns", "2", "0"},
	{"backlog", "tcp:127.0.0.1:0", "7", "7", "9", "9", ""},
	{"user", "unix:PATH", "4242", "4242", "root", "0", "0"},
	{"group", "unixgram:PATH", "4243", "4243", "root", "0", "0"},
	{"mode", "unix:PATH", "0640", fmt.Sprint(0o640), "600", fmt.Sprint(0o600), fmt.Sprint(0o755)},
	{"mode", "fifo:PATH", "0640", fmt.Sprint(0o640), "600", fmt.Sprint(0o600), fmt.Sprint(0o644)},
}

// once are the options that only a new socket takes.
var once = []string{"protocol", "v6only", "nonblocking", "writable", "directorymode"}

func now(t *testing.T, s activation.Socket, text, option string) string {
	t.Helper()
	v, err := activation.OptionNow(s, parse(t, text), option)
	if err != nil {
		t.Fatalf("%s: %s: %v", text, option, err)
	}
	return v
}

// needsRoot passes over a test of what only root may do. CI is root.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// TestBoundSocketTakesChangedOptions asks the kernel, for every option but those that
// are fixed: first on a new socket, then at a reload that says something else, and at
// one that says nothing. Until Apply, and after Undo, everything is as before.
func TestBoundSocketTakesChangedOptions(t *testing.T) {
	needsRoot(t)
	tried := slices.Clone(once)
	for _, c := range samples {
		tried = append(tried, c.option)
		t.Run(c.option+" "+c.socket, func(t *testing.T) {
			checkFDs(t)
			bare := strings.ReplaceAll(c.socket, "PATH", path(t))
			one, two := bare+"?"+c.option+"="+c.one, bare+"?"+c.option+"="+c.two
			s := bind(t, one)
			t.Cleanup(s.Unlink)
			if got := now(t, s, one, c.option); got != c.oneIs {
				t.Errorf("%s: got %s, want %s", one, got, c.oneIs)
			}
			checkChange(t, s, two, c.option, c.oneIs, c.twoIs)
			if c.option != "reuseport" { // see TestReusePortCannotBeSwitchedOff
				checkChange(t, gather(t, []activation.Socket{s}, two).Sockets[0], bare, c.option, c.twoIs, c.none)
			}
		})
	}
	slices.Sort(tried)
	all := activation.OptionNames()
	slices.Sort(all)
	if tried = slices.Compact(tried); !slices.Equal(tried, all) {
		t.Errorf("tried %q, want all: %q", tried, all)
	}
}

// checkChange lets s become what text says. An empty want is for what depends on the
// machine.
func checkChange(t *testing.T, s activation.Socket, text, option, before, want string) {
	t.Helper()
	set, err := activation.Gather(parseAll(t, text), []activation.Socket{s})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Bound) != 0 || set.Sockets[0].Spec != text {
		t.Errorf("%s: got a new socket or spec %q", text, set.Sockets[0].Spec)
	}
	steps := []struct {
		name string
		do   func() error
		want string
	}{
		{"Gather", func() error { return nil }, before},
		{"Apply", set.Changed.Apply, want},
		{"Undo", func() error { set.Undo(); return nil }, before},
		{"Apply", set.Changed.Apply, want},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %s: %v", text, step.name, err)
		}
		if got := now(t, s, text, option); got != step.want && step.want != "" {
			t.Errorf("%s: after %s got %s, want %s", text, step.name, got, step.want)
		}
	}
}

// TestSameOptionsChangeNothing: in another order, in other words, or of a directory that
// is there.
func TestSameOptionsChangeNothing(t *testing.T) {
	at := path(t)
	for was, is := range map[string]string{
		"tcp:127.0.0.1:0?backlog=4&nodelay=yes": "tcp:127.0.0.1:0?nodelay=1&backlog=4",
		"udp:127.0.0.1:0?rcvbuf=64K":            "udp:127.0.0.1:0?rcvbuf=65536",
		"tcp:127.0.0.1:0?deferaccept=5":         "tcp:127.0.0.1:0?deferaccept=5s",
		"unix:" + at + "?directorymode=0755":    "unix:" + at,
		"tcp:127.0.0.1:0":                       "tcp:127.0.0.1:0?nodelay=no",
	} {
		s := bind(t, was)
		defer s.Unlink()
		set := gather(t, []activation.Socket{s}, is)
		if checkSet(t, set, 0); len(set.Changed) != 0 {
			t.Errorf("%s, then %s: got %d changes", was, is, len(set.Changed))
		}
	}
}

// TestChangedTOSLeavesThePriority: the kernel derives one from the other.
func TestChangedTOSLeavesThePriority(t *testing.T) {
	const was = "tcp:127.0.0.1:0?priority=1&tos=low-delay"
	s := bind(t, was)
	set := gather(t, []activation.Socket{s}, "tcp:127.0.0.1:0?priority=1&tos=throughput")
	if err := set.Changed.Apply(); err != nil {
		t.Fatal(err)
	}
	if got := now(t, s, was, "priority"); got != "1" {
		t.Errorf("priority after Apply: got %s, want 1", got)
	}
	set.Undo()
	if got := now(t, s, was, "priority"); got != "1" {
		t.Errorf("priority after Undo: got %s, want 1", got)
	}
}

// TestFailedChangeLeavesAllAsItWas: invariant I2, for options. The second change fails
// because its file is another one by then.
func TestFailedChangeLeavesAllAsItWas(t *testing.T) {
	at := path(t)
	tcp, file := bind(t, "tcp:127.0.0.1:0"), bind(t, "unix:"+at)
	set := gather(t, []activation.Socket{tcp, file}, "tcp:127.0.0.1:0?nodelay=yes", "unix:"+at+"?mode=0600")
	if len(set.Changed) != 2 {
		t.Fatalf("got %d changes, want 2", len(set.Changed))
	}
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	target := path(t)
	write(t, target)
	if err := os.Symlink(target, at); err != nil {
		t.Fatal(err)
	}
	err := set.Changed.Apply()
	if want := "option mode: "; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q in it", err, want)
	}
	if got := getInt(t, tcp, unix.SOL_TCP, unix.TCP_NODELAY); got != 0 {
		t.Errorf("nodelay: got %d, want 0 as before", got)
	}
	if st, err := os.Stat(target); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("what the link leads to: got %v, %v", st.Mode(), err)
	}
}

// TestForesightIsWhatGatherFinds: and puts back what somebody else has applied.
func TestForesightIsWhatGatherFinds(t *testing.T) {
	s := bind(t, "a=tcp:127.0.0.1:0?nodelay=yes")
	specs := parseAll(t, "a=tcp:127.0.0.1:0")
	foreseen := activation.Foresee(specs, []activation.Socket{s})
	if err := gather(t, []activation.Socket{s}, "a=tcp:127.0.0.1:0").Changed.Apply(); err != nil {
		t.Fatal(err)
	}
	if got := getInt(t, s, unix.SOL_TCP, unix.TCP_NODELAY); got != 0 {
		t.Errorf("after Apply: got %d, want 0", got)
	}
	foreseen.Undo() // which it has not applied
	if got := getInt(t, s, unix.SOL_TCP, unix.TCP_NODELAY); got != 0 {
		t.Errorf("after Undo: got %d, want 0", got)
	}
	foreseen.PutBack()
	if got := getInt(t, s, unix.SOL_TCP, unix.TCP_NODELAY); got != 1 {
		t.Errorf("after PutBack: got %d, want 1", got)
	}
}

// TestOptionThatTheKernelRefusesIsNamed: before anything is bound or changed.
func TestOptionThatTheKernelRefusesIsNamed(t *testing.T) {
	s := bind(t, "a=tcp:127.0.0.1:0")
	checkFDs(t)
	for _, text := range []string{"a=tcp:127.0.0.1:0?congestion=nosuch", "a=tcp:127.0.0.1:0?device=nosuch0"} {
		_, name, _ := strings.Cut(text, "?")
		name, _, _ = strings.Cut(name, "=")
		if _, err := activation.Bind(parse(t, text)); err == nil || !strings.Contains(err.Error(), "option "+name+": no such") {
			t.Errorf("%s: got %v, want it to name the option", text, err)
		}
		if _, err := activation.Gather(parseAll(t, text), []activation.Socket{s}); err == nil || !strings.Contains(err.Error(), "option "+name+": no such") {
			t.Errorf("%s at a reload: got %v, want it to name the option", text, err)
		}
	}
}
