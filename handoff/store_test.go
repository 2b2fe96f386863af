package handoff

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// TestStoreThatIsTooSmall: as many as there is room for, and a line that names the mend.
func TestStoreThatIsTooSmall(t *testing.T) {
	three := []string{"a", "b", "c"}
	many := slices.Repeat([]string{strings.Repeat("n", 59)}, 10_000) // 60 bytes each, with the colon
	for _, c := range []struct {
		names []string
		room  int
		n     int
		want  string
	}{
		{nil, 0, 0, ""},
		{three, 3, 3, ""},
		{three, 9, 3, ""},
		{three, 2, 2, "FDSTORE=2 has no room for 1 of 3 sockets to outlive a crash; hint: FileDescriptorStoreMax=3"},
		{three, 0, 0, "FDSTORE=0 has no room for 3 of 3 sockets to outlive a crash; hint: FileDescriptorStoreMax=3"},
		{many, 10_000, 2048, "LISTEN_FDNAMES has no room for 7952 of 10000 sockets to outlive a crash"},
	} {
		if n, got := storable(c.names, c.room); n != c.n || got != c.want {
			t.Errorf("%d names, room for %d: got %d, %q, want %d, %q", len(c.names), c.room, n, got, c.n, c.want)
		}
	}
}

// planned is a launcher that has gathered these sockets, as they were before, and those
// that are dropped.
func planned(t *testing.T, fdstore, room string, sockets []activation.Socket, dropped ...activation.Socket) *launcher {
	t.Helper()
	l := &launcher{env: []string{"FDSTORE=" + room}}
	l.options.FDStore = fdstore == "yes"
	l.Sockets, l.Dropped = slices.Clone(sockets), dropped
	l.inherited = append(slices.Clone(sockets), dropped...)
	l.planStore()
	return l
}

func boundSocket(t *testing.T, name string) activation.Socket {
	t.Helper()
	return bound(t, name+"=tcp:127.0.0.1:0")
}

// TestStoreGetsWhatItMisses and nothing twice, and loses what is not to be kept: before
// it gets something, for it may be full. A handoff that is taken back leaves it as it was.
func TestStoreGetsWhatItMisses(t *testing.T) {
	a, b, c, d := boundSocket(t, "a"), boundSocket(t, "b"), boundSocket(t, "c"), boundSocket(t, "d")
	theirs := activation.Socket{FD: d.FD, Name: "web.socket"}
	name := func(s activation.Socket) string { return s.StoreName() }
	stored := func(s activation.Socket) activation.Socket { s.Stored = s.StoreName(); return s }
	renamed := a
	renamed.Stored = "flipexec=1,0,0=old"
	both := []activation.Socket{stored(a), b, theirs}
	for _, tc := range []struct {
		name       string
		l          *launcher
		does, back []string
	}{
		{"new", planned(t, "yes", "9", []activation.Socket{a, b, theirs}), []string{"+" + name(a), "+" + name(b)}, []string{"-" + name(a), "-" + name(b)}},
		{"one more", planned(t, "yes", "9", both), []string{"+" + name(b)}, []string{"-" + name(b), "+" + name(a)}},
		{"no room", planned(t, "yes", "1", both), nil, []string{"+" + name(a)}},
		{"no room for what it had", planned(t, "yes", "1", []activation.Socket{b, stored(a)}), []string{"-" + name(a), "+" + name(b)}, []string{"-" + name(b), "+" + name(a)}},
		{"another name", planned(t, "yes", "9", []activation.Socket{renamed}), []string{"-" + renamed.Stored, "+" + name(a)}, []string{"-" + name(a), "+" + renamed.Stored}},
		{"dropped", planned(t, "yes", "9", []activation.Socket{stored(a)}, stored(b)), []string{"-" + name(b)}, []string{"+" + name(a), "+" + name(b)}},
		{"dropped, and perhaps stored", planned(t, "yes", "9", nil, c), []string{"-" + name(c)}, nil},
		{"off", planned(t, "no", "9", both), []string{"-" + name(a)}, []string{"+" + name(a)}},
		{"was never on", planned(t, "no", "9", []activation.Socket{a, theirs}, b), nil, nil},
	} {
		path := filepath.Join(t.TempDir(), "notify")
		manager, err := notify.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		defer manager.Close()
		if tc.l.manager, err = notify.Dial(path); err != nil {
			t.Fatal(err)
		}
		defer tc.l.manager.Close()
		tc.l.updateStore()
		if got := storeTraffic(t, manager); !slices.Equal(got, tc.does) {
			t.Errorf("%s: the manager was told %q, want %q", tc.name, got, tc.does)
		}
		checkTold(t, tc.name, tc.l)
		tc.l.putBackStore()
		if got := storeTraffic(t, manager); !slices.Equal(got, tc.back) {
			t.Errorf("%s: taking it back, the manager was told %q, want %q", tc.name, got, tc.back)
		}
	}
}

// storeTraffic is what a manager was told to keep (+) and to forget (-).
func storeTraffic(t *testing.T, manager *notify.Socket) (told []string) {
	t.Helper()
	for {
		d, err := manager.Receive()
		if err == notify.ErrEmpty {
			return told
		}
		if err != nil {
			t.Fatal(err)
		}
		name, _ := d.Message.Get("FDNAME")
		switch {
		case d.Message.Is("FDSTORE", "1") && d.Message.Is("FDPOLL", "0") && len(d.FDs) == 1:
			told = append(told, "+"+name)
		case d.Message.Is("FDSTOREREMOVE", "1") && len(d.FDs) == 0:
			told = append(told, "-"+name)
		default:
			t.Errorf("the manager was told %q, with %d descriptors", d.Message, len(d.FDs))
		}
		closeAll(d.FDs)
	}
}

// checkTold wants the keeper to learn from its launcher what the manager keeps.
func checkTold(t *testing.T, name string, l *launcher) {
	t.Helper()
	k := &keeper{}
	k.Sockets, k.Forget = slices.Clone(l.Sockets), []string{"x"}
	for i := range k.Sockets {
		k.Sockets[i].Stored = ""
	}
	k.noteStored(l.published())
	if !slices.Equal(k.Sockets, l.Sockets) || len(k.Forget) != 0 {
		t.Errorf("%s: the keeper knows %+v and %q, want %+v", name, k.Sockets, k.Forget, l.Sockets)
	}
	for i, s := range l.Sockets {
		if s.Stored != l.toStore[i] {
			t.Errorf("%s: socket %q is stored as %q, want %q", name, s.Name, s.Stored, l.toStore[i])
		}
	}
}

// TestLauncherThatDiesLeavesItsWorkToTheNext: what the manager was to forget it is told
// to again, unless it is wanted by then.
func TestLauncherThatDiesLeavesItsWorkToTheNext(t *testing.T) {
	a := boundSocket(t, "a")
	for forget, want := range map[string][]string{"flipexec=1,0,0=old": {"flipexec=1,0,0=old"}, a.StoreName(): {}} {
		l := &launcher{}
		l.options.FDStore, l.Sockets, l.Forget = true, []activation.Socket{a}, []string{forget}
		if l.planStore(); !slices.Equal(l.Forget, want) {
			t.Errorf("%s: the next handoff forgets %q, want %q", forget, l.Forget, want)
		}
	}
}

// TestStoreIsOnWhereTheManagerSaysSo, or somebody does.
func TestStoreIsOnWhereTheManagerSaysSo(t *testing.T) {
	for _, c := range []struct {
		settings []Setting
		env      string
		want     string
	}{
		{nil, "", "false"},
		{nil, "FDSTORE=1", "true"},
		{nil, "FDSTORE=0", "false"},
		{nil, "FDSTORE=-1", "false"},
		{nil, "FDSTORE=many", "false"},
		{nil, "FLIPEXEC_FDSTORE=yes", "true"},
		{nil, "FLIPEXEC_FDSTORE=no FDSTORE=1", "false"},
		{[]Setting{{"fdstore", "no"}}, "FDSTORE=1 FLIPEXEC_FDSTORE=yes", "false"},
		{[]Setting{{"fdstore", "true"}}, "", "true"}, // --fdstore alone
		{[]Setting{{"foreground", "yes"}}, "FDSTORE=1", "false"},
		{[]Setting{{"detach", "yes"}, {"pid-file", "/run/p"}}, "FDSTORE=1", "false"},
		{[]Setting{{"detach", "yes"}, {"pid-file", "/run/p"}, {"fdstore", "yes"}}, "", errNoStore.Error()},
		{[]Setting{{"foreground", "yes"}, {"fdstore", "yes"}}, "FDSTORE=1", errNoStore.Error()},
	} {
		env := strings.Fields(c.env)
		o, err := ParseOptions(c.settings, func(name string) (string, bool) { return value(env, name), has(env, name) })
		got := fmt.Sprint(o.FDStore)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v, %q: got %s, want %s", c.settings, c.env, got, c.want)
		}
	}
	l := &launcher{reporter: &channel{-1}}
	l.options.FDStore = true
	if err := l.prepare(); err == nil || err.Error() != errNoStore.Error() || ExitCode(err) != ExitUsage {
		t.Errorf("without a foreground option: got %v", err)
	}
}

// TestForgottenSocketMayBeInTheWayForAMoment: systemd closes it when it has answered the
// barrier already.
func TestForgottenSocketMayBeInTheWayForAMoment(t *testing.T) {
	for _, text := range []string{"tcp:127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		spec, err := activation.ParseSpec(text)
		if err != nil {
			t.Fatal(err)
		}
		old, err := activation.Bind(spec)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(text, "tcp") {
			sa, err := unix.Getsockname(old.FD)
			if err != nil {
				t.Fatal(err)
			}
			if spec, err = activation.ParseSpec(fmt.Sprintf("tcp:127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)); err != nil {
				t.Fatal(err)
			}
		}
		specs := []activation.Spec{spec}
		if _, err := gatherFreed(specs, nil, false); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("%s: got %v, want at once %v", text, err, unix.EADDRINUSE)
		}
		time.AfterFunc(50*time.Millisecond, old.Close)
		set, err := gatherFreed(specs, nil, true)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		set.Undo()
	}
}
