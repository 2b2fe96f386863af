package activation

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// lookupIn is os.LookupEnv for a list of entries.
func lookupIn(env ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, entry := range env {
			if v, ok := strings.CutPrefix(entry, name+"="); ok {
				return v, true
			}
		}
		return "", false
	}
}

func TestOfferIsReadFromTheVariables(t *testing.T) {
	for _, c := range []struct {
		name string
		env  []string
		want offer
	}{
		{"nothing", nil, offer{}},
		{"no LISTEN_FDS", []string{"LISTEN_PID=7", "LISTEN_FDNAMES=a"}, offer{}},
		{"none passed", []string{"LISTEN_PID=7", "LISTEN_FDS=0"}, offer{pid: 7}},
		{"none passed, no names", []string{"LISTEN_PID=7", "LISTEN_FDS=0", "LISTEN_FDNAMES="}, offer{pid: 7}},
		{"without names", []string{"LISTEN_PID=7", "LISTEN_FDS=2"}, offer{pid: 7, names: []string{"unknown", "unknown"}}},
		{"with names", []string{"LISTEN_PID=7", "LISTEN_FDS=2", "LISTEN_FDNAMES=http:web.socket"},
			offer{pid: 7, names: []string{"http", "web.socket"}}},
		{"the same name twice", []string{"LISTEN_PID=7", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:a"}, offer{pid: 7, names: []string{"a", "a"}}},
		{"one empty name", []string{"LISTEN_PID=7", "LISTEN_FDS=1", "LISTEN_FDNAMES="}, offer{pid: 7, names: []string{""}}},
		{"with a pidfd", []string{"LISTEN_PID=7", "LISTEN_PIDFDID=99", "LISTEN_FDS=1"},
			offer{pid: 7, pidfdid: 99, names: []string{"unknown"}}},
		{"without LISTEN_PID", []string{"LISTEN_FDS=1"}, offer{names: []string{"unknown"}}},
	} {
		got, err := parseOffer(lookupIn(c.env...))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got.pid != c.want.pid || got.pidfdid != c.want.pidfdid || !slices.Equal(got.names, c.want.names) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestMalformedOfferIsRefusedByVariable: invariant I10, for the environment.
func TestMalformedOfferIsRefusedByVariable(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{[]string{"LISTEN_FDS="}, `LISTEN_FDS=""`},
		{[]string{"LISTEN_FDS=two"}, `LISTEN_FDS="two"`},
		{[]string{"LISTEN_FDS=-1"}, `LISTEN_FDS="-1"`},
		{[]string{"LISTEN_FDS=1 "}, `LISTEN_FDS="1 "`},
		{[]string{"LISTEN_FDS=1048577"}, `LISTEN_FDS="1048577"`},
		{[]string{"LISTEN_FDS=99999999999999999999"}, "LISTEN_FDS="},
		{[]string{"LISTEN_FDS=1", "LISTEN_PID="}, `LISTEN_PID=""`},
		{[]string{"LISTEN_FDS=1", "LISTEN_PID=self"}, `LISTEN_PID="self"`},
		{[]string{"LISTEN_FDS=1", "LISTEN_PID=0"}, `LISTEN_PID="0"`},
		{[]string{"LISTEN_FDS=1", "LISTEN_PID=7", "LISTEN_PIDFDID=x"}, `LISTEN_PIDFDID="x"`},
		{[]string{"LISTEN_FDS=1", "LISTEN_PID=7", "LISTEN_PIDFDID=0"}, `LISTEN_PIDFDID="0"`},
		{[]string{"LISTEN_FDS=2", "LISTEN_FDNAMES=a"}, "1 names for 2 descriptors"},
		{[]string{"LISTEN_FDS=1", "LISTEN_FDNAMES=a:b"}, "2 names for 1 descriptors"},
		{[]string{"LISTEN_FDS=0", "LISTEN_FDNAMES=a"}, "1 names for 0 descriptors"},
		{[]string{"LISTEN_FDS=1", "LISTEN_FDNAMES=a\tb"}, "is not allowed"},
		{[]string{"LISTEN_FDS=1", "LISTEN_FDNAMES=" + strings.Repeat("n", 256)}, "256 bytes"},
	} {
		o, err := parseOffer(lookupIn(c.env...))
		if err == nil {
			t.Errorf("%q was taken as %+v", c.env, o)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %q, want %q in it", c.env, err, c.want)
		}
	}
}

func TestEnvironDescribesTheSocketsInOrder(t *testing.T) {
	got := Environ([]Socket{{Name: "b"}, {Name: "a"}, {Name: "b"}})
	want := []string{"LISTEN_FDS=3", "LISTEN_FDNAMES=b:a:b"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got, want = Environ(nil), []string{"LISTEN_FDS=0", "LISTEN_FDNAMES="}
	if !slices.Equal(got, want) {
		t.Errorf("without sockets: got %q, want %q", got, want)
	}
}

// FuzzOffer: whatever the variables hold, and whichever are there, they are refused
// or mean what comes back when they are printed: invariant I10.
func FuzzOffer(f *testing.F) {
	f.Add("2", "1", "a:b", "7", uint8(0))
	f.Add("2", "1", "", "", uint8(4|8))
	f.Add("0", "1", "", "", uint8(0))
	f.Add("1", "", "", "0", uint8(2|8))
	f.Add("1", "7", "", "", uint8(8))
	f.Add("03", "+1", "::", "18446744073709551615", uint8(0))
	f.Add("-1", "x", ":", "18446744073709551616", uint8(0))
	f.Fuzz(func(t *testing.T, fds, pid, names, id string, absent uint8) {
		if len(fds) > 4 {
			return // a million names are allowed, and slow
		}
		var env []string
		for i, entry := range []string{"LISTEN_FDS=" + fds, "LISTEN_PID=" + pid, "LISTEN_FDNAMES=" + names, "LISTEN_PIDFDID=" + id} {
			if absent&(1<<i) == 0 {
				env = append(env, entry)
			}
		}
		o, err := parseOffer(lookupIn(env...))
		if err != nil {
			if s := err.Error(); strings.ContainsAny(s, "\n\r\x00") {
				t.Fatalf("%q: the error is %q", env, s)
			}
			return
		}
		again, err := parseOffer(lookupIn(printOffer(o)...))
		if err != nil || again.pid != o.pid || again.pidfdid != o.pidfdid || !slices.Equal(again.names, o.names) {
			t.Fatalf("%q is %+v, and then %+v, %v", env, o, again, err)
		}
	})
}

// printOffer is what a manager sets to offer o.
func printOffer(o offer) []string {
	env := Environ(named(o.names))
	if o.pid != 0 {
		env = append(env, "LISTEN_PID="+strconv.Itoa(o.pid))
	}
	if o.pidfdid != 0 {
		env = append(env, "LISTEN_PIDFDID="+strconv.FormatUint(o.pidfdid, 10))
	}
	return env
}

func named(names []string) []Socket {
	sockets := make([]Socket, len(names))
	for i, name := range names {
		sockets[i] = Socket{FD: FirstFD + i, Name: name}
	}
	return sockets
}

// FuzzEnviron: what a server reads out of the variables are the names that went
// in, one for each socket; a name that cannot be told in them is refused, and
// never read as others: invariant I10.
func FuzzEnviron(f *testing.F) {
	f.Add("http", "web.socket", "", uint8(2))
	f.Add("", "", "", uint8(0))
	f.Add("", "", "", uint8(1))
	f.Add("", "", "", uint8(3))
	f.Add("a:b", "c", "", uint8(1))
	f.Add("a\n", "~", "é", uint8(3))
	f.Fuzz(func(t *testing.T, a, b, c string, n uint8) {
		names := []string{a, b, c}[:n%4]
		o, err := parseOffer(lookupIn(Environ(named(names))...))
		valid := true
		for _, name := range names {
			valid = valid && CheckName(name) == nil
		}
		if valid != (err == nil) || err == nil && !slices.Equal(o.names, names) {
			t.Fatalf("%q came back as %q, %v", names, o.names, err)
		}
	})
}
