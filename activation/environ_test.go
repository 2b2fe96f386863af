package activation

import (
	"slices"
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

// FuzzOffer: whatever the variables hold, there are as many names as
// descriptors, and Environ and parseOffer undo each other: invariant I10.
func FuzzOffer(f *testing.F) {
	f.Add("2", "1", "a:b", "7")
	f.Add("0", "1", "", "")
	f.Add("1", "", "", "0")
	f.Add("-1", "x", ":", "18446744073709551616")
	f.Fuzz(func(t *testing.T, fds, pid, names, id string) {
		if len(fds) > 4 {
			t.Skip() // a million names are allowed, and slow
		}
		env := lookupIn("LISTEN_FDS="+fds, "LISTEN_PID="+pid, "LISTEN_FDNAMES="+names, "LISTEN_PIDFDID="+id)
		o, err := parseOffer(env)
		if err != nil {
			return
		}
		sockets := make([]Socket, len(o.names))
		for i, name := range o.names {
			sockets[i] = Socket{FD: FirstFD + i, Name: name}
		}
		again, err := parseOffer(lookupIn(Environ(sockets)...))
		if err != nil || !slices.Equal(again.names, o.names) {
			t.Fatalf("%q came back as %q, %v", o.names, again.names, err)
		}
	})
}
