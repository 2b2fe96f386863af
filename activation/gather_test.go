package activation_test

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

func parseAll(t *testing.T, texts ...string) []activation.Spec {
	t.Helper()
	var specs []activation.Spec
	for _, text := range texts {
		specs = append(specs, parse(t, text))
	}
	return specs
}

// gather is Gather for specs of which none is wrong.
func gather(t *testing.T, inherited []activation.Socket, specs ...string) activation.Set {
	t.Helper()
	set, err := activation.Gather(parseAll(t, specs...), inherited)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Undo)
	return set
}

func fds(sockets []activation.Socket) []int {
	var fds []int
	for _, s := range sockets {
		fds = append(fds, s.FD)
	}
	return fds
}

func names(sockets []activation.Socket) []string {
	var names []string
	for _, s := range sockets {
		names = append(names, s.Name)
	}
	return names
}

// checkSet compares what Gather found (by descriptor) with what was expected;
// bound is how many of the sockets are new.
func checkSet(t *testing.T, set activation.Set, bound int, dropped ...activation.Socket) {
	t.Helper()
	if len(set.Bound) != bound {
		t.Errorf("bound: got %q, want %d sockets", names(set.Bound), bound)
	}
	if !slices.Equal(fds(set.Dropped), fds(dropped)) {
		t.Errorf("dropped: got %q, want %q", names(set.Dropped), names(dropped))
	}
}

func TestSocketsComeInOrderOfTheSpecsThenTheRest(t *testing.T) {
	dir := path(t)
	x, b := systemds(t, "x", "udp:127.0.0.1:0"), bind(t, "b=unix:"+dir+"b")
	y, a := systemds(t, "y", "tcp:127.0.0.1:0"), bind(t, "a=unix:"+dir+"a")
	set := gather(t, []activation.Socket{x, b, y, a}, "a=unix:"+dir+"a", "new=unix:"+dir+"c", "b=unix:"+dir+"b")
	if got, want := names(set.Sockets), []string{"a", "new", "b", "x", "y"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := fds(set.Sockets), []int{a.FD, set.Bound[0].FD, b.FD, x.FD, y.FD}; !slices.Equal(got, want) {
		t.Errorf("got descriptors %d, want %d", got, want)
	}
	checkSet(t, set, 1)
}

func TestSameAddressIsTheSameSocketWhateverItsName(t *testing.T) {
	for _, c := range []struct{ first, again string }{
		{"tcp:127.0.0.1:0", "http=tcp:127.0.0.1:PORT"},
		{"tcp::0", "tcp::PORT"},
		{"tcp::0", "tcp:[::]:PORT"},
		{"tcp6::0", "tcp6::PORT"},
		{"tcp4::0", "tcp4:0.0.0.0:PORT"},
		{"tcp4::0", "tcp:0.0.0.0:PORT"},
		{"udp:[::1]:0", "udp6:[::1]:PORT"},
		{"unix:PATH", "http=unix:PATH"},
		{"unixgram:PATH", "unixgram:PATH"},
		{"unix:@gather", "http=unix:@gather"},
	} {
		at := path(t)
		s := systemds(t, "old", strings.ReplaceAll(c.first, "PATH", at))
		again := strings.ReplaceAll(c.again, "PATH", at)
		if strings.Contains(again, "PORT") {
			again = strings.ReplaceAll(again, "PORT", fmt.Sprint(port(t, s)))
		}
		set := gather(t, []activation.Socket{s}, again)
		checkSet(t, set, 0)
		if !slices.Equal(fds(set.Sockets), []int{s.FD}) {
			t.Errorf("%s as %s: got %d, want the inherited one", c.first, again, fds(set.Sockets))
		}
		if strings.HasPrefix(again, "http=") && set.Sockets[0].Name != "http" {
			t.Errorf("%s as %s: got name %q, want %q", c.first, again, set.Sockets[0].Name, "http")
		}
		if set.Sockets[0].Spec != "" {
			t.Errorf("%s as %s: got spec %q, want systemd's socket to stay systemd's", c.first, again, set.Sockets[0].Spec)
		}
	}
}

func TestAnotherKindOrAddressIsAnotherSocket(t *testing.T) {
	at := path(t)
	for _, c := range []struct{ first, other string }{
		{"tcp:127.0.0.1:0", "tcp:127.0.0.2:PORT"},
		{"tcp:127.0.0.1:0", "udp:127.0.0.1:PORT"},
		{"tcp6::0", "tcp4::PORT"},
		{"unix:" + at, "unix:" + at + "2"},
		{"unix:@kind", "unixgram:@kind2"},
	} {
		s := systemds(t, "old", c.first)
		other := c.other
		if strings.Contains(other, "PORT") {
			other = strings.ReplaceAll(other, "PORT", fmt.Sprint(port(t, s)))
		}
		set := gather(t, []activation.Socket{s}, other)
		checkSet(t, set, 1)
		if got, want := fds(set.Sockets), []int{set.Bound[0].FD, s.FD}; !slices.Equal(got, want) {
			t.Errorf("%s beside %s: got %d, want %d", other, c.first, got, want)
		}
	}
}

// A socket for IPv6 alone must not pass for one that takes both, nor the
// other way round: a client would be refused that was not before.
func TestIPv6AloneIsNotBoth(t *testing.T) {
	for first, other := range map[string]string{"tcp6::0": "tcp::%d", "tcp::0": "tcp6::%d"} {
		s := systemds(t, "old", first)
		set, err := activation.Gather(parseAll(t, fmt.Sprintf(other, port(t, s))), []activation.Socket{s})
		if err == nil {
			t.Errorf("%s for %s: got %d, want address already in use", other, first, fds(set.Sockets))
			set.Undo()
		}
	}
}

func TestNameFindsTheSocketOfSystemd(t *testing.T) {
	udp, tcp := systemds(t, "web", "udp:127.0.0.1:0"), systemds(t, "web", "tcp:127.0.0.1:0")
	for _, spec := range []string{"web=tcp::80", "web=tcp:127.0.0.1:0"} {
		set := gather(t, []activation.Socket{udp, tcp}, spec)
		checkSet(t, set, 0)
		if got, want := fds(set.Sockets), []int{tcp.FD, udp.FD}; !slices.Equal(got, want) {
			t.Errorf("%s: got %d, want %d", spec, got, want)
		}
		if set.Sockets[0].Spec != "" {
			t.Errorf("%s: got spec %q, want none", spec, set.Sockets[0].Spec)
		}
	}
}

func TestChangedAddressUnderTheSameNameIsANewSocket(t *testing.T) {
	at := path(t)
	old := bind(t, "web=unix:"+at+"1")
	set := gather(t, []activation.Socket{old}, "web=unix:"+at+"2")
	checkSet(t, set, 1, old)
	if got, want := set.Sockets[0].Spec, "web=unix:"+at+"2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPortZeroKeepsItsPort(t *testing.T) {
	a, b := bind(t, "a=tcp:127.0.0.1:0"), bind(t, "b=tcp:127.0.0.1:0")
	set := gather(t, []activation.Socket{a, b}, "b=tcp:127.0.0.1:0", "a=tcp:127.0.0.1:0", "c=tcp:127.0.0.1:0")
	checkSet(t, set, 1)
	if got, want := fds(set.Sockets)[:2], []int{b.FD, a.FD}; !slices.Equal(got, want) {
		t.Errorf("got %d, want %d", got, want)
	}
}

func TestUndeclaredSocketOfOursIsDroppedAndOneOfSystemdStays(t *testing.T) {
	ours, theirs := bind(t, "a=tcp:127.0.0.1:0"), systemds(t, "b", "tcp:127.0.0.1:0")
	set := gather(t, []activation.Socket{ours, theirs})
	checkSet(t, set, 0, ours)
	if got, want := fds(set.Sockets), []int{theirs.FD}; !slices.Equal(got, want) {
		t.Errorf("got %d, want %d", got, want)
	}
}

func TestRenamedSocketIsStillOurs(t *testing.T) {
	at := path(t)
	old := bind(t, "a=unix:"+at)
	set := gather(t, []activation.Socket{old}, "b=unix:"+at)
	checkSet(t, set, 0)
	want := activation.Socket{FD: old.FD, Name: "b", Spec: "b=unix:" + at, Dev: old.Dev, Ino: old.Ino}
	if set.Sockets[0] != want {
		t.Errorf("got %+v, want %+v", set.Sockets[0], want)
	}
}

func TestNameIsThatOfTheSpecNotOfItsHistory(t *testing.T) {
	at := path(t)
	old := bind(t, "a=unix:"+at)
	set := gather(t, []activation.Socket{old}, "unix:"+at)
	checkSet(t, set, 0)
	if got, want := set.Sockets[0].Name, activation.Unnamed; got != want {
		t.Errorf("got %q, want %q, as after a fresh start", got, want)
	}
}

// TestSocketThatLostItsPathIsBoundAnew: many servers unlink the path when they stop,
// and no client could reach their successor.
func TestSocketThatLostItsPathIsBoundAnew(t *testing.T) {
	at := path(t)
	old := bind(t, "a=unix:"+at)
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	set := gather(t, []activation.Socket{old}, "a=unix:"+at)
	checkSet(t, set, 1, old)
	c, err := net.Dial("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestDuplicateNameIsRefused(t *testing.T) {
	checkFDs(t)
	_, err := activation.Gather(parseAll(t, "a=tcp:127.0.0.1:0", "tcp:127.0.0.1:0", "tcp:127.0.0.1:0", "a=udp:127.0.0.1:0"), nil)
	want := `listen: duplicate name "a"`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestFailedGatherLeavesNothing: invariant I2, for the sockets that were made.
func TestFailedGatherLeavesNothing(t *testing.T) {
	at := path(t)
	ours, theirs := bind(t, "a=unix:"+at+"a"), systemds(t, "b", "tcp:127.0.0.1:0")
	checkFDs(t)
	set, err := activation.Gather(parseAll(t, "new=unix:"+at+"new", "gone=unix:"+at+"/missing/s"), []activation.Socket{ours, theirs})
	if err == nil {
		t.Fatal("bound in a missing directory")
	}
	if len(set.Sockets)+len(set.Bound)+len(set.Dropped) != 0 {
		t.Errorf("got %+v, want nothing", set)
	}
	checkMissing(t, at+"new")
	for _, s := range []activation.Socket{ours, theirs} {
		if got := getInt(t, s, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); got != 1 {
			t.Errorf("inherited socket %q does not listen any more", s.Name)
		}
	}
	if !accepts(t, ours, "unix", at+"a") {
		t.Error("the inherited path leads nowhere")
	}
}

func TestUndoLeavesInheritedSockets(t *testing.T) {
	at := path(t)
	old := bind(t, "a=unix:"+at+"a")
	checkFDs(t)
	set, err := activation.Gather(parseAll(t, "a=unix:"+at+"a", "b=unix:"+at+"b"), []activation.Socket{old})
	if err != nil {
		t.Fatal(err)
	}
	set.Undo()
	checkMissing(t, at+"b")
	if !accepts(t, old, "unix", at+"a") {
		t.Error("the inherited path leads nowhere")
	}
}
