//go:build linux

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A socketKind has sockets without end: spec and at are formats that take a number.
type socketKind struct{ name, spec, at string }

var socketKinds = []socketKind{
	{"tcp over IPv4", "tcp::%d", "tcp 127.0.0.1:%d"},
	{"tcp over IPv6", "tcp::%d", "tcp [::1]:%d"},
	{"tcp4", "tcp4:127.0.0.1:%d", "tcp 127.0.0.1:%d"},
	{"tcp6", "tcp6:[::1]:%d", "tcp [::1]:%d"},
	{"udp over IPv4", "udp::%d", "udp 127.0.0.1:%d"},
	{"udp over IPv6", "udp::%d", "udp [::1]:%d"},
	{"udp4", "udp4:127.0.0.1:%d", "udp 127.0.0.1:%d"},
	{"udp6", "udp6:[::1]:%d", "udp [::1]:%d"},
	{"unix", "unix:/run/web/%d", "unix /run/web/%d"},
	{"unix, abstract", "unix:@web/%d", "unix @web/%d"},
	{"unixgram", "unixgram:/run/web/%d", "unixgram /run/web/%d"},
	{"unixgram, abstract", "unixgram:@web/%d", "unixgram @web/%d"},
	{"unixpacket", "unixpacket:/run/web/%d", "unixpacket /run/web/%d"},
	{"unixpacket, abstract", "unixpacket:@web/%d", "unixpacket @web/%d"},
	{"vsock", "vsock:1:%d", "vsock 1:%d"},
	{"fifo", "fifo:/run/web/%d", "fifo /run/web/%d"},
}

// declare makes sockets from words NAME=NUMBER.
func (k socketKind) declare(words string) (all []declared) {
	for _, word := range strings.Fields(words) {
		name, number, _ := strings.Cut(word, "=")
		n := 1000 + int(number[0]-'0')
		all = append(all, declared{name + "=" + fmt.Sprintf(k.spec, n), fmt.Sprintf(k.at, n)})
	}
	return all
}

// TestI1KeptSocketLosesNothing: of each kind, one socket stays while others beside it
// are added, dropped, moved and change places, and itself changes its place among the
// descriptors.
func TestI1KeptSocketLosesNothing(t *testing.T) {
	t.Parallel()
	for _, k := range socketKinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			if k.name == "vsock" && !hasVsockLoopback() {
				t.Skip("this kernel has no loopback for vsock")
			}
			var rounds [][]declared
			for _, words := range []string{
				"kept=0", "kept=0 a=1", "b=2 kept=0 a=1", "b=2 a=3 kept=0", "kept=0 b=2", "a=1 kept=0 b=3",
				"a=1 kept=0", "b=1 a=2 kept=0", "a=1 b=2 kept=0", "kept=0",
			} {
				rounds = append(rounds, k.declare(words))
			}
			checkI1(t, k.declare("kept=0")[0].at, rounds)
		})
	}
}

// TestI1SomebodyAnswersAtEveryInstant: on sockets of every kind, while the next server
// takes six seconds to start. What waits for it would take as long.
func TestI1SomebodyAnswersAtEveryInstant(t *testing.T) {
	t.Parallel()
	const delay = 6 * time.Second
	var sockets []declared
	for i, k := range socketKinds {
		if k.name != "vsock" || hasVsockLoopback() {
			sockets = append(sockets, k.declare(fmt.Sprintf("%d=%d", i, i%10))...)
		}
	}
	r := boot(t, "host")
	declareSockets(t, r, sockets)
	install(t, r, kindsUnit())
	must(t, r, "start", "web")
	var loads []*kindsLoad
	for _, s := range sockets {
		loads = append(loads, startKindsLoad(t, r, s.at))
	}
	checkEach(t, r, sockets, 1)
	install(t, r, kindsUnit(fmt.Sprintf("Environment=KINDS_START_DELAY=%v", delay)))
	must(t, r, "reload", "web")
	awaitOneGeneration(t, r)
	checkEach(t, r, sockets, 2)
	for _, l := range loads {
		if report := l.stop(t, 2); report.Slowest >= delay {
			t.Errorf("load at %s: somebody waited for %v", l.at, report.Slowest)
		}
	}
}

// kindsUnit is a unit whose sockets declareSockets sets.
func kindsUnit(more ...string) string {
	text := unitText(kindsServer, append(more, "EnvironmentFile=/etc/web.env")...)
	return strings.Replace(text, "--listen http=tcp::80 ", "", 1)
}

// checkI1 starts a server with the first round of sockets and reloads it with each of the
// others, under load at one address that all of them serve.
func checkI1(t *testing.T, kept string, rounds [][]declared) {
	t.Helper()
	r := boot(t, "host")
	declareSockets(t, r, rounds[0])
	install(t, r, kindsUnit())
	must(t, r, "start", "web")
	load := startKindsLoad(t, r, kept)
	checkEach(t, r, rounds[0], 1)
	for i, now := range rounds[1:] {
		declareSockets(t, r, now)
		must(t, r, "reload", "web")
		awaitOneGeneration(t, r)
		checkEach(t, r, now, i+2)
		checkNone(t, r, slices.DeleteFunc(slices.Clone(rounds[i]), func(s declared) bool {
			return slices.ContainsFunc(now, func(n declared) bool { return n.at == s.at })
		}))
	}
	load.stop(t, len(rounds))
}

// hasVsockLoopback reports whether a process of this machine can reach a vsock socket, as
// with CONFIG_VSOCKETS_LOOPBACK. Without, only the host of a virtual machine can.
func hasVsockLoopback() bool {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_LOCAL, Port: unix.VMADDR_PORT_ANY}) == nil
}
