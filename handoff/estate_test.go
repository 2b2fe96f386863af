package handoff

import (
	"os"
	"reflect"
	"strconv"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// newSocket is a descriptor that differs from every other by its inode.
func newSocket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func inode(t *testing.T, fd int) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// least is the smallest estate.
func least(t *testing.T) estate {
	return estate{
		Generation: 1,
		Command:    []string{"server"},
		Control:    activation.Socket{FD: newSocket(t), Name: "unknown", Spec: "unixpacket:/run/web/flipexec.sock", Dev: 1, Ino: 2},
	}
}

// full has everything in it.
func full(t *testing.T) estate {
	t.Helper()
	e := least(t)
	e.Generation = 7
	e.Command = []string{"/usr/bin/server", "", "-x=1", "a b\nc", "\xff"}
	e.Settings = []Setting{{"listen", "a=tcp::80"}, {"listen", "unix:/run/s"}, {"pid-file", ""}, {"stop-signal", "QUIT"}}
	e.Sockets = []activation.Socket{
		{FD: newSocket(t), Name: "a", Spec: "a=tcp::80"},
		{FD: newSocket(t), Name: "unknown", Spec: "unix:/run/s", Dev: 1<<63 + 5, Ino: 1<<64 - 1},
		{FD: newSocket(t), Name: ""},
	}
	e.Bound = []activation.Socket{{FD: -1, Name: "unknown", Spec: "unix:/run/s", Dev: 5, Ino: 6}}
	e.Dropped = []activation.Socket{{FD: -1, Name: "old", Spec: "old=unix:/run/old", Dev: 7, Ino: 8}}
	e.Watchdog, e.Credentials = "3000000", "/run/credentials/web.service"
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	e.Server = process{os.Getpid(), fd}
	return e
}

func closeEstate(e estate) {
	for _, s := range append(e.Sockets, e.Control) {
		s.Close()
	}
	e.Server.close()
}

// travel sends an estate through a channel.
func travel(t *testing.T, e estate) (estate, error) {
	t.Helper()
	m := message{kind: msgEstate}
	e.appendTo(&m)
	got, err := transfer(t, m)
	if err != nil {
		t.Fatal(err)
	}
	defer got.close()
	return estateFrom(&got)
}

// identify replaces descriptors by what they stand for.
func identify(t *testing.T, e estate) estate {
	t.Helper()
	sockets := append([]activation.Socket(nil), e.Sockets...)
	for i := range sockets {
		sockets[i].FD = int(inode(t, sockets[i].FD))
	}
	e.Sockets = sockets
	e.Control.FD = int(inode(t, e.Control.FD))
	if e.Server.pid != 0 {
		e.Server.fd = 0 // a pidfd has an inode of its own only on later kernels
	}
	return e
}

func TestEstateComesBackAsItWas(t *testing.T) {
	checkFDs(t)
	for name, e := range map[string]estate{"least": least(t), "full": full(t)} {
		got, err := travel(t, e)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if g, w := identify(t, got), identify(t, e); !reflect.DeepEqual(g, w) {
			t.Errorf("%s: got %+v, want %+v", name, g, w)
		}
		if e.Server.pid != 0 && !got.Server.running() {
			t.Errorf("%s: the server's pidfd is of no running process", name)
		}
		closeEstate(got)
	}
}

func TestThousandSocketsArriveInOrder(t *testing.T) {
	checkFDs(t)
	e := least(t)
	for i := range 1000 {
		e.Sockets = append(e.Sockets, activation.Socket{FD: newSocket(t), Name: "s" + strconv.Itoa(i)})
	}
	got, err := travel(t, e)
	if err != nil {
		t.Fatal(err)
	}
	defer closeEstate(got)
	if !reflect.DeepEqual(identify(t, got), identify(t, e)) {
		t.Error("they are others, or in another order")
	}
}

// TestBadEstateIsRefusedAndNothingStaysOpen: invariant I10, for what generations
// hand to each other.
func TestBadEstateIsRefusedAndNothingStaysOpen(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *message)
		want   string
	}{
		"generation no number":   {func(m *message) { m.add("generation", "x") }, `generation="x"`},
		"generation zero":        {func(m *message) { m.add("generation", "0") }, "no generation"},
		"generation negative":    {func(m *message) { m.add("generation", "-1") }, "no generation"},
		"no command":             {func(m *message) { m.remove("argument") }, "no generation, command or control socket"},
		"no control socket":      {func(m *message) { m.remove("@control") }, "no socket before it"},
		"server no number":       {func(m *message) { m.addFD("server", "x", 0) }, `@server="x"`},
		"value without option":   {func(m *message) { m.add("value", "x") }, "no option before it"},
		"file no numbers":        {func(m *message) { m.add("file", "x") }, `file="x"`},
		"file half":              {func(m *message) { m.add("file", "1:") }, `file="1:"`},
		"file negative":          {func(m *message) { m.add("file", "-1:2") }, `file="-1:2"`},
		"control without a spec": {func(m *message) { m.remove("spec") }, "no generation, command or control socket"},
	} {
		t.Run(name, func(t *testing.T) {
			e := least(t)
			checkFDs(t)
			m := message{kind: msgEstate}
			e.appendTo(&m)
			c.change(&m)
			got, err := transfer(t, m)
			if err != nil {
				t.Fatal(err)
			}
			_, err = estateFrom(&got)
			got.close()
			checkError(t, name, err, c.want)
		})
	}
}

// remove takes a field out of a message that is going to be sent.
func (m *message) remove(key string) {
	var rest []field
	for _, f := range m.fields {
		if f.key != key {
			rest = append(rest, f)
		}
	}
	m.fields = rest
}

func TestUnknownFieldsOfALaterVersionAreIgnored(t *testing.T) {
	e := least(t)
	checkFDs(t)
	m := message{kind: msgEstate}
	m.add("colour", "blue")
	m.addFD("thing", "x", e.Control.FD)
	e.appendTo(&m)
	m.add("version", "1.5")
	got, err := transfer(t, m)
	if err != nil {
		t.Fatal(err)
	}
	back, err := estateFrom(&got)
	got.close()
	if err != nil {
		t.Fatal(err)
	}
	closeEstate(back)
}
