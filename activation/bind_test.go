package activation_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

func TestBindMakesTheSocketOfEachNetwork(t *testing.T) {
	for _, c := range []struct {
		spec        string
		domain, typ int
	}{
		{"tcp::0", unix.AF_INET6, unix.SOCK_STREAM},
		{"tcp:127.0.0.1:0", unix.AF_INET, unix.SOCK_STREAM},
		{"tcp:[::1]:0", unix.AF_INET6, unix.SOCK_STREAM},
		{"tcp4::0", unix.AF_INET, unix.SOCK_STREAM},
		{"tcp6::0", unix.AF_INET6, unix.SOCK_STREAM},
		{"udp::0", unix.AF_INET6, unix.SOCK_DGRAM},
		{"udp4:127.0.0.1:0", unix.AF_INET, unix.SOCK_DGRAM},
		{"udp6:[::1]:0", unix.AF_INET6, unix.SOCK_DGRAM},
		{"unix:PATH", unix.AF_UNIX, unix.SOCK_STREAM},
		{"unixgram:PATH", unix.AF_UNIX, unix.SOCK_DGRAM},
		{"unixpacket:PATH", unix.AF_UNIX, unix.SOCK_SEQPACKET},
		{"unix:@" + t.Name(), unix.AF_UNIX, unix.SOCK_STREAM},
	} {
		t.Run(c.spec, func(t *testing.T) {
			checkFDs(t)
			text := strings.ReplaceAll(c.spec, "PATH", path(t))
			s := bind(t, text)
			if s.Name != activation.Unnamed || s.Spec != text {
				t.Errorf("got name %q, spec %q, want %q, %q", s.Name, s.Spec, activation.Unnamed, text)
			}
			if got := getInt(t, s, unix.SOL_SOCKET, unix.SO_DOMAIN); got != c.domain {
				t.Errorf("domain: got %d, want %d", got, c.domain)
			}
			if got := getInt(t, s, unix.SOL_SOCKET, unix.SO_TYPE); got != c.typ {
				t.Errorf("type: got %d, want %d", got, c.typ)
			}
			listening := 1
			if c.typ == unix.SOCK_DGRAM {
				listening = 0
			}
			if got := getInt(t, s, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); got != listening {
				t.Errorf("listening: got %d, want %d", got, listening)
			}
			checkFlags(t, s)
		})
	}
}

// checkFlags: non-blocking, and close-on-exec.
func checkFlags(t *testing.T, s activation.Socket) {
	t.Helper()
	if f, err := unix.FcntlInt(uintptr(s.FD), unix.F_GETFL, 0); err != nil || f&unix.O_NONBLOCK == 0 {
		t.Errorf("O_NONBLOCK is missing: flags %#x, %v", f, err)
	}
	if f, err := unix.FcntlInt(uintptr(s.FD), unix.F_GETFD, 0); err != nil || f&unix.FD_CLOEXEC == 0 {
		t.Errorf("FD_CLOEXEC is missing: flags %#x, %v", f, err)
	}
}

func TestListenQueueIsAsLongAsTheMachineAllows(t *testing.T) {
	s := bind(t, "tcp:127.0.0.1:0")
	info, err := unix.GetsockoptTCPInfo(s.FD, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		t.Fatal(err)
	}
	// A listening socket's tcpi_sacked is its limit (net/ipv4/tcp.c, tcp_get_info).
	if got, want := strconv.Itoa(int(info.Sacked)), strings.TrimSpace(string(b)); got != want {
		t.Errorf("got a queue of %s, want %s", got, want)
	}
}

func TestAddressFamiliesAreThoseOfTheNetwork(t *testing.T) {
	for _, c := range []struct {
		spec   string
		v4, v6 bool
	}{
		{"tcp::0", true, true},
		{"tcp4::0", true, false},
		{"tcp6::0", false, true},
		{"tcp:127.0.0.1:0", true, false},
		{"tcp:[::1]:0", false, true},
		{"tcp6:[::]:0", false, true},
	} {
		s := bind(t, c.spec)
		p := port(t, s)
		if got := accepts(t, s, "tcp", fmt.Sprintf("127.0.0.1:%d", p)); got != c.v4 {
			t.Errorf("%s answers IPv4: got %v, want %v", c.spec, got, c.v4)
		}
		if got := accepts(t, s, "tcp", fmt.Sprintf("[::1]:%d", p)); got != c.v6 {
			t.Errorf("%s answers IPv6: got %v, want %v", c.spec, got, c.v6)
		}
	}
}

func TestAddressMayBeReusedForStreamsOnly(t *testing.T) {
	for spec, want := range map[string]int{"tcp:127.0.0.1:0": 1, "tcp6::0": 1, "udp:127.0.0.1:0": 0, "udp6::0": 0} {
		s := bind(t, spec)
		if got := getInt(t, s, unix.SOL_SOCKET, unix.SO_REUSEADDR); got != want {
			t.Errorf("%s: SO_REUSEADDR: got %d, want %d", spec, got, want)
		}
		if got := getInt(t, s, unix.SOL_SOCKET, unix.SO_REUSEPORT); got != 0 {
			t.Errorf("%s: SO_REUSEPORT: got %d, want 0", spec, got)
		}
	}
}

func TestAddressInUseIsRefused(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		first := bind(t, network+":127.0.0.1:0")
		checkFDs(t)
		text := fmt.Sprintf("%s:127.0.0.1:%d", network, port(t, first))
		_, err := activation.Bind(parse(t, text))
		if !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("%s: got %v, want %v", network, err, unix.EADDRINUSE)
		}
		if want := "listen " + text + ": address already in use"; err == nil || err.Error() != want {
			t.Errorf("%s: got %q, want %q", network, err, want)
		}
	}
}

func TestUnknownInterfaceIsRefusedByName(t *testing.T) {
	checkFDs(t)
	for _, text := range []string{"tcp:[fe80::1%nosuch0]:0", "udp:[fe80::1%longerthanifnamsiz]:0"} {
		_, err := activation.Bind(parse(t, text))
		if err == nil || !strings.Contains(err.Error(), "interface \"") {
			t.Errorf("%s: got %v, want it to name the interface", text, err)
		}
	}
}

func TestAbstractNameIsNoFile(t *testing.T) {
	s := bind(t, "unix:@"+t.Name())
	if s.Ino != 0 || s.Dev != 0 {
		t.Errorf("got file %d:%d, want none", s.Dev, s.Ino)
	}
	if !accepts(t, s, "unix", "@"+t.Name()) {
		t.Error("nobody answers")
	}
	if _, err := activation.Bind(parse(t, "unix:@"+t.Name())); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a second one: got %v, want %v", err, unix.EADDRINUSE)
	}
}

func TestUnixListenQueueTakesABurst(t *testing.T) {
	at := path(t)
	bind(t, "unix:"+at)
	for i := range 200 { // more than the 128 that were usual
		c, err := net.Dial("unix", at)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
	}
}
