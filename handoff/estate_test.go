package handoff

import (
	"bytes"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
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
		{FD: newSocket(t), Name: "a", Spec: "a=tcp::80", Stored: "flipexec=7,0,0=a"},
		{FD: newSocket(t), Name: "unknown", Spec: "unix:/run/s", Dev: 1<<63 + 5, Ino: 1<<64 - 1},
		{FD: newSocket(t), Name: ""},
	}
	e.Bound = []activation.Socket{e.Sockets[1]}
	e.Dropped = []activation.Socket{{FD: newSocket(t), Name: "old", Spec: "old=unix:/run/old", Dev: 7, Ino: 8}}
	e.Own = []descriptor{newDescriptor(newSocket(t), "state", false), newDescriptor(newSocket(t), "", true)}
	e.Forget = []string{"flipexec=8,0,0=b", "flipexec=9,1,2=c"}
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
	for _, s := range slices.Concat(e.Sockets, e.Dropped, []activation.Socket{e.Control}) {
		s.Close()
	}
	for _, d := range e.Own {
		d.close()
	}
	e.Server.close()
	for _, p := range e.Older {
		p.close()
	}
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
	inodes := func(sockets []activation.Socket) []activation.Socket {
		sockets = slices.Clone(sockets)
		for i := range sockets {
			if fd := &sockets[i].FD; *fd >= 0 {
				*fd = int(inode(t, *fd))
			}
		}
		return sockets
	}
	e.Sockets, e.Bound, e.Dropped = inodes(e.Sockets), inodes(e.Bound), inodes(e.Dropped)
	e.Own = slices.Clone(e.Own)
	for i, d := range e.Own {
		e.Own[i].fd = int(inode(t, d.fd))
	}
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
		"generation zero":        {func(m *message) { m.add("generation", "0") }, `generation="0"`},
		"generation negative":    {func(m *message) { m.add("generation", "-1") }, `generation="-1"`},
		"generation too high":    {func(m *message) { m.add("generation", "2147483648") }, `generation="2147483648"`},
		"no generation":          {func(m *message) { m.remove("generation") }, "no generation"},
		"no command":             {func(m *message) { m.remove("argument") }, "no generation, command or control socket"},
		"no control socket":      {func(m *message) { m.remove("@control") }, "no socket before it"},
		"server no number":       {func(m *message) { m.addFD("server", "x", 0) }, `@server="x"`},
		"server zero":            {func(m *message) { m.addFD("server", "0", 0) }, `@server="0"`},
		"two servers":            {func(m *message) { m.addFD("server", "7", 0); m.addFD("server", "7", 0) }, "comes a second time"},
		"two control sockets":    {func(m *message) { m.addFD("control", "", 0) }, "comes a second time"},
		"file and more":          {func(m *message) { m.add("file", "1:2 3") }, `file="1:2 3"`},
		"value without option":   {func(m *message) { m.add("value", "x") }, "no option before it"},
		"file no numbers":        {func(m *message) { m.add("file", "x") }, `file="x"`},
		"stored by nobody":       {func(m *message) { m.fields = append([]field{{"stored", "x", -1}}, m.fields...) }, "no socket before it"},
		"poll of nobody":         {func(m *message) { m.add("poll", "true") }, "no descriptor before it"},
		"poll neither":           {func(m *message) { m.addFD("stored", "x", 0); m.add("poll", "maybe") }, `poll="maybe"`},
		"file half":              {func(m *message) { m.add("file", "1:") }, `file="1:"`},
		"file negative":          {func(m *message) { m.add("file", "-1:2") }, `file="-1:2"`},
		"bound without socket":   {func(m *message) { m.fields = append([]field{{"bound", "", -1}}, m.fields...) }, "no socket before it"},
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

// FuzzEstate: what a generation leaves comes back as it was, and with it each of its
// descriptors, or is refused as a whole. Invariant I10.
func FuzzEstate(f *testing.F) {
	f.Add(1, "server", "", "", "unixpacket:/run/web/flipexec.sock", "", "", 0, uint64(0), uint64(0), uint8(0))
	f.Add(7, "/usr/bin/server\x00\x00-x=1\x00a b\nc\x00\xff", "listen\x00a=tcp::80\x00pid-file\x00", "a\x00a=tcp::80\x00\x00", "unixpacket:@x",
		"3000000", "/run/credentials/web.service", 4242, uint64(1<<63+5), uint64(1<<64-1), uint8(1))
	f.Add(2147483647, "", "a", "b\x00c", "x", "", "", 1, uint64(1), uint64(2), uint8(255))
	f.Add(0, "a", "", "", "x", "", "", -1, uint64(0), uint64(0), uint8(0))
	f.Add(1, "a", "", "", "", "a\x00b", "", 0, uint64(0), uint64(0), uint8(0))
	f.Fuzz(func(t *testing.T, generation int, command, settings, sockets, control, watchdog, credentials string, pid int, dev, ino uint64, more uint8) {
		e := estate{
			Generation: generation, Command: strings.Split(command, "\x00"),
			Control:  activation.Socket{FD: 1_000_000, Spec: control, Dev: ino, Ino: dev},
			Watchdog: watchdog, Credentials: credentials,
		}
		for _, s := range pairs(settings) {
			e.Settings = append(e.Settings, Setting{s[0], s[1]})
		}
		for _, s := range pairs(sockets) {
			s := activation.Socket{FD: 3_000_000 + len(e.Dropped), Name: s[0], Spec: s[1], Dev: dev, Ino: ino}
			e.Dropped = append(e.Dropped, s)
			for range int(more%16) + 1 {
				s.FD = 1_000_001 + len(e.Sockets)
				e.Sockets = append(e.Sockets, s)
			}
			e.Bound = append(e.Bound, s)
		}
		if pid != 0 {
			e.Server = process{pid, 2_000_000}
		}
		m := message{kind: msgEstate}
		e.appendTo(&m)
		records, err := m.encode()
		if err != nil {
			if !strings.Contains(control+watchdog+credentials, "\x00") {
				t.Fatal(err)
			}
			return
		}
		m = decode(t, records)
		got, err := estateFrom(&m)
		if good := 0 < generation && generation <= math.MaxInt32 && 0 <= pid && pid <= math.MaxInt32 && control != ""; good != (err == nil) {
			t.Fatalf("%+v: %v", e, err)
		}
		if err == nil && !reflect.DeepEqual(got, e) {
			t.Fatalf("got %+v, want %+v", got, e)
		}
	})
}

// pairs cuts a text into pairs of strings that a message can carry.
func pairs(text string) [][2]string {
	var p [][2]string
	parts := strings.Split(text, "\x00")
	for i := 0; i+1 < len(parts); i += 2 {
		p = append(p, [2]string{parts[i], parts[i+1]})
	}
	return p
}

// FuzzEstateFrom: whatever fields come, they are an estate that is sent on as it was
// understood, or an error; and each descriptor has one owner, or after an error is
// closed. Invariant I10.
func FuzzEstateFrom(f *testing.F) {
	const control = "@control=\x00spec=x\x00file=1:2\x00"
	const least = "generation=1\x00argument=a\x00" + control
	f.Add([]byte(least))
	f.Add([]byte(least + "option=listen\x00value=tcp::80\x00@socket=a\x00spec=\x00file=0:0\x00@server=42\x00colour=blue\x00@thing=x\x00bound=b\x00dropped=c\x00"))
	f.Add([]byte(least + "stored=a\x00@socket=a\x00spec=b\x00file=1:2\x00stored=c\x00stored=\x00forget=d\x00forget=\x00"))
	f.Add([]byte(least + "@stored=a\x00poll=0\x00@stored=\x00poll=true\x00poll=false\x00"))
	f.Add([]byte("poll=true\x00"))
	f.Add([]byte(least + control))
	f.Add([]byte(least + "@server=42\x00@server=43\x00"))
	f.Add([]byte(least + "@server=0\x00"))
	f.Add([]byte("@socket=a\x00@control=b\x00spec=x\x00file=1:2 3\x00"))
	const older = "@older=41\x00older-generation=3\x00older-stop-signal=TERM\x00older-drain-timeout=1s\x00"
	f.Add([]byte(least + older + "@older=42\x00@older-keeper=\x00older-stop-signal=34\x00older-generation=4\x00"))
	f.Add([]byte(least + older + "@older-keeper=\x00@older-keeper=\x00"))
	f.Add([]byte(least + "@older=41\x00"))
	f.Add([]byte("older-generation=3\x00"))
	f.Add([]byte("value=a\x00"))
	f.Add([]byte("spec=a\x00"))
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { unix.Close(socket) })
	f.Fuzz(func(t *testing.T, fields []byte) {
		data := append([]byte(".estate\x00"), fields...)
		fds := make([]int, bytes.Count(data, []byte("\x00@")))
		if len(fds) > 16 {
			return // more of the same, and slow
		}
		for i := range fds {
			fds[i] = duplicate(t, socket)
		}
		var m message
		if _, err := m.decodeRecord(data, fds); err != nil {
			closeAll(fds)
			return
		}
		e, err := estateFrom(&m)
		defer m.close()
		left := untaken(m)
		if err != nil {
			if !oneLine(err) {
				t.Fatalf("%q: the error is %q", fields, err)
			}
			for _, fd := range fds {
				if !slices.Contains(left, fd) && isOpen(fd) {
					t.Fatalf("%q: after %v descriptor %d is nobody's", fields, err, fd)
				}
			}
			return
		}
		defer closeEstate(e)
		if owned := append(left, descriptors(e)...); !sameNumbers(owned, fds) {
			t.Fatalf("%q: got descriptors %d, want %d", fields, owned, fds)
		}
		again := message{kind: msgEstate}
		e.appendTo(&again)
		records, err := again.encode()
		if err != nil {
			t.Fatal(err)
		}
		again = decode(t, records)
		if e2, err := estateFrom(&again); err != nil || !reflect.DeepEqual(e2, e) {
			t.Fatalf("%q is %+v, and then %+v, %v", fields, e, e2, err)
		}
	})
}

// descriptors are those that an estate owns.
func descriptors(e estate) []int {
	fds := []int{e.Control.FD}
	for _, p := range e.Older {
		if fds = append(fds, p.server.fd); p.keeper != nil {
			fds = append(fds, p.keeper.fd)
		}
	}
	for _, s := range e.Sockets {
		fds = append(fds, s.FD)
	}
	for _, d := range e.Own {
		fds = append(fds, d.fd)
	}
	if e.Server.pid != 0 {
		fds = append(fds, e.Server.fd)
	}
	return fds
}

// untaken are those that a message still owns.
func untaken(m message) []int {
	var fds []int
	for _, f := range m.fields {
		if f.fd >= 0 {
			fds = append(fds, f.fd)
		}
	}
	return fds
}

func sameNumbers(a, b []int) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}
