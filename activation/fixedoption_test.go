package activation_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// TestOptionThatIsFixedNeedsANewSocket: not even a second socket that the kernel would
// let us bind will do.
func TestOptionThatIsFixedNeedsANewSocket(t *testing.T) {
	for _, c := range []struct{ option, first, again string }{
		{"v6only", "tcp:[::]:0", "?v6only=yes"},
		{"v6only", "udp:[::]:0?v6only=yes", ""},
		{"protocol", "tcp:127.0.0.1:0", "?protocol=mptcp"},
		{"protocol", "tcp:127.0.0.1:0?protocol=mptcp", ""},
		{"nonblocking", "tcp:127.0.0.1:0", "?nonblocking=no"},
		{"nonblocking", "udp:127.0.0.1:0?nonblocking=no", ""},
		{"reuseport", "tcp:127.0.0.1:0?reuseport=yes", "?reuseport=no"},
		{"reuseport", "udp:127.0.0.1:0?reuseport=yes", ""},
		{"v6only", "tcp:[::]:0?reuseport=yes", "?reuseport=yes&v6only=yes"},
	} {
		first, err := activation.Bind(parse(t, c.first))
		if errors.Is(err, unix.EPROTONOSUPPORT) {
			t.Logf("%s: %v", c.first, err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(first.Close)
		// As if it had been bound with its port said.
		bare, options, _ := strings.Cut(c.first, "?")
		bare = strings.TrimSuffix(bare, "0") + fmt.Sprint(port(t, first))
		first.Spec = bare
		if options != "" {
			first.Spec += "?" + options
		}
		t.Run(first.Spec, func(t *testing.T) {
			checkFDs(t)
			again := bare + c.again
			_, err = activation.Gather(parseAll(t, again), []activation.Socket{first})
			want := "listen " + again + ": option " + c.option + " of a bound socket cannot change; hint: systemctl restart"
			if err == nil || err.Error() != want {
				t.Errorf("then %s: got %v, want %s", again, err, want)
			}
		})
	}
}

// TestKernelKeepsV6OnlyOfABoundSocket: why v6only is fixed.
func TestKernelKeepsV6OnlyOfABoundSocket(t *testing.T) {
	for _, text := range []string{"tcp::0", "udp::0"} {
		s := bind(t, text)
		if err := unix.SetsockoptInt(s.FD, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != unix.EINVAL {
			t.Errorf("%s: got %v, want %v", text, err, unix.EINVAL)
		}
	}
}

// TestSocketBlocksIfThatIsAskedFor, which only its birth decides: the flag is one of all
// generations.
func TestSocketBlocksIfThatIsAskedFor(t *testing.T) {
	for _, text := range []string{"tcp:127.0.0.1:0", "udp:127.0.0.1:0", "unix:PATH", "unixpacket:PATH", "netlink:kobject-uevent:1"} {
		for option, want := range map[string]string{"": "1", "?nonblocking=yes": "1", "?nonblocking=no": "0"} {
			spec := strings.ReplaceAll(text, "PATH", path(t)) + option
			s := bind(t, spec)
			if got := now(t, s, spec, "nonblocking"); got != want {
				t.Errorf("%s: got %s, want %s", spec, got, want)
			}
			if again := gather(t, []activation.Socket{s}, spec); len(again.Changed) != 0 || len(again.Bound) != 0 {
				t.Errorf("%s: another one at a reload", spec)
			}
		}
	}
	s := systemds(t, "web", "tcp:127.0.0.1:0?nonblocking=no")
	checkSet(t, gather(t, []activation.Socket{s}, "web=tcp::80?nonblocking=no"), 0)
	_, err := activation.Gather(parseAll(t, "web=tcp::80?nonblocking=yes"), []activation.Socket{s})
	if want := "option nonblocking of a socket that was inherited is 0; hint: leave the option out"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestReusePortCannotBeSwitchedOff: the kernel takes that, and lets others in as
// before. Switched on it works at once.
func TestReusePortCannotBeSwitchedOff(t *testing.T) {
	s := bind(t, "tcp:127.0.0.1:0?reuseport=yes")
	if err := unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_REUSEPORT, 0); err != nil {
		t.Fatal(err)
	}
	bind(t, fmt.Sprintf("tcp:127.0.0.1:%d?reuseport=yes", port(t, s)))

	s = bind(t, "tcp:127.0.0.1:0")
	text := fmt.Sprintf("tcp:127.0.0.1:%d?reuseport=yes", port(t, s))
	if _, err := activation.Bind(parse(t, text)); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("before: got %v, want %v", err, unix.EADDRINUSE)
	}
	s.Spec = strings.TrimSuffix(text, "?reuseport=yes")
	if err := gather(t, []activation.Socket{s}, text).Changed.Apply(); err != nil {
		t.Fatal(err)
	}
	bind(t, text)
}

func TestSpecialFileIsOpenedAnewIfItIsToBeWritable(t *testing.T) {
	s := bind(t, "special:/dev/null")
	set := gather(t, []activation.Socket{s}, "special:/dev/null?writable=yes")
	checkSet(t, set, 1, s)
	if _, err := unix.Write(set.Sockets[0].FD, []byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := unix.Write(s.FD, []byte("x")); err != unix.EBADF {
		t.Errorf("the read-only one: got %v, want %v", err, unix.EBADF)
	}
}

// TestOptionsOfSystemdsSocketAreItsOwn: the same ones are all right, others are refused,
// and nothing is changed.
func TestOptionsOfSystemdsSocketAreItsOwn(t *testing.T) {
	s := systemds(t, "web", "tcp:127.0.0.1:0?nodelay=yes&backlog=7&deferaccept=5")
	checkFDs(t)
	set := gather(t, []activation.Socket{s}, "web=tcp::80?nodelay=yes&backlog=7&deferaccept=5")
	if checkSet(t, set, 0); len(set.Changed) != 0 {
		t.Errorf("got %d changes", len(set.Changed))
	}
	for text, want := range map[string]string{
		"web=tcp::80?nodelay=no": "option nodelay of a socket that was inherited is 1; hint: NoDelay= in its .socket unit",
		"web=tcp::80?backlog=9":  "option backlog of a socket that was inherited is 7; hint: Backlog= in its .socket unit",
		"web=tcp::80?fastopen=9": "option fastopen of a socket that was inherited is 0; hint: leave the option out",
		"web=tcp::80?v6only=yes": "option v6only",
	} {
		if _, err := activation.Gather(parseAll(t, text), []activation.Socket{s}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	at := path(t)
	file := systemds(t, "file", "unix:"+at+"?mode=0640")
	checkSet(t, gather(t, []activation.Socket{file}, "unix:"+at+"?mode=0640"), 0)
	_, err := activation.Gather(parseAll(t, "unix:"+at+"?mode=0600"), []activation.Socket{file})
	if want := "option mode of a socket that was inherited is 0640; hint: SocketMode= in its .socket unit"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	u := systemds(t, "app", "unix:@systemds")
	_, err = activation.Gather(parseAll(t, "app=unix:@systemds?backlog=9"), []activation.Socket{u})
	if err == nil || !strings.Contains(err.Error(), "cannot be read from the socket; hint: Backlog= in its .socket unit") {
		t.Errorf("got %v, want it refused", err)
	}
}
