package handoff

import (
	"fmt"
	"slices"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

func TestServerEnvironmentIsThatOfTheLauncherAndWhatIsPromised(t *testing.T) {
	control := activation.Socket{Spec: "unixpacket:/run/web/flipexec.sock"}
	one, own := []activation.Socket{{Name: "http"}}, []descriptor{{name: "state"}, {name: "client"}}
	for _, c := range []struct {
		name     string
		launcher []string
		estate   estate
		want     []string
	}{
		{"least",
			[]string{"PATH=/bin", "X="},
			estate{Generation: 1, Control: control},
			[]string{"PATH=/bin", "X=", "LISTEN_FDS=0", "LISTEN_FDNAMES=", "LISTEN_PID=", "NOTIFY_SOCKET=/n", "FLIPEXEC_GENERATION=1",
				"FLIPEXEC_CONTROL=/run/web/flipexec.sock", "FLIPEXEC_STORE=/s"}},
		{"a control process's variables are not the server's",
			[]string{"MAINPID=7", "MAINPIDFDID=8", "A=1", "NOTIFY_SOCKET=/run/systemd/notify", "LISTEN_PID=9", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b",
				"LISTEN_PIDFDID=10", "WATCHDOG_USEC=1", "WATCHDOG_PID=9", "FLIPEXEC_GENERATION=1", "FLIPEXEC_CONTROL=/old", "FLIPEXEC_STORE=/old", "B=2"},
			estate{Generation: 2, Control: control, Sockets: one},
			[]string{"A=1", "B=2", "LISTEN_FDS=1", "LISTEN_FDNAMES=http", "LISTEN_PID=", "NOTIFY_SOCKET=/n", "FLIPEXEC_GENERATION=2",
				"FLIPEXEC_CONTROL=/run/web/flipexec.sock", "FLIPEXEC_STORE=/s"}},
		{"its own descriptors come last",
			nil,
			estate{Generation: 2, Control: control, Sockets: one, Own: own},
			[]string{"LISTEN_FDS=3", "LISTEN_FDNAMES=http:state:client", "LISTEN_PID=", "NOTIFY_SOCKET=/n", "FLIPEXEC_GENERATION=2",
				"FLIPEXEC_CONTROL=/run/web/flipexec.sock", "FLIPEXEC_STORE=/s"}},
		{"with a watchdog",
			[]string{"WATCHDOG_USEC=1", "WATCHDOG_PID=9"},
			estate{Generation: 3, Control: control, Watchdog: "3000000"},
			[]string{"LISTEN_FDS=0", "LISTEN_FDNAMES=", "LISTEN_PID=", "NOTIFY_SOCKET=/n", "FLIPEXEC_GENERATION=3",
				"FLIPEXEC_CONTROL=/run/web/flipexec.sock", "FLIPEXEC_STORE=/s", "WATCHDOG_USEC=3000000", "WATCHDOG_PID="}},
		{"under a systemd that sets SYSTEMD_EXEC_PID",
			[]string{"SYSTEMD_EXEC_PID=77"},
			estate{Generation: 1, Control: control},
			[]string{"LISTEN_FDS=0", "LISTEN_FDNAMES=", "LISTEN_PID=", "NOTIFY_SOCKET=/n", "FLIPEXEC_GENERATION=1",
				"FLIPEXEC_CONTROL=/run/web/flipexec.sock", "FLIPEXEC_STORE=/s", "SYSTEMD_EXEC_PID="}},
		{"credentials of the start",
			[]string{"A=1"},
			estate{Generation: 2, Control: control, Credentials: "/run/c"},
			[]string{"A=1", "LISTEN_FDS=0", "LISTEN_FDNAMES=", "LISTEN_PID=", "NOTIFY_SOCKET=/n", "FLIPEXEC_GENERATION=2",
				"FLIPEXEC_CONTROL=/run/web/flipexec.sock", "FLIPEXEC_STORE=/s", "CREDENTIALS_DIRECTORY=/run/c"}},
		{"credentials of the reload come first",
			[]string{"CREDENTIALS_DIRECTORY=/run/new"},
			estate{Generation: 2, Control: activation.Socket{Spec: "unixpacket:@flipexec/id/web.service"}, Credentials: "/run/c"},
			[]string{"CREDENTIALS_DIRECTORY=/run/new", "LISTEN_FDS=0", "LISTEN_FDNAMES=", "LISTEN_PID=", "NOTIFY_SOCKET=/n",
				"FLIPEXEC_GENERATION=2", "FLIPEXEC_CONTROL=@flipexec/id/web.service", "FLIPEXEC_STORE=/s"}},
	} {
		before := slices.Clone(c.launcher)
		if got := serverEnviron(c.launcher, c.estate, "/n", "/s"); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
		if !slices.Equal(c.launcher, before) {
			t.Errorf("%s: the launcher's own environment was changed", c.name)
		}
	}
}

func TestOptionsInTheEnvironmentReachTheServerUnchanged(t *testing.T) {
	launcher := []string{"FLIPEXEC_LISTEN=tcp::80", "FLIPEXEC_PID_FILE=/run/p", "MAINPIDX=1", "NOTIFY_SOCKETS=2"}
	got := serverEnviron(launcher, estate{Generation: 1}, "/n", "/s")
	if !slices.Equal(got[:len(launcher)], launcher) {
		t.Errorf("got %q, want %q first", got, launcher)
	}
}

func TestStageFillsInItsOwnPID(t *testing.T) {
	env := []string{"A=", "LISTEN_PID=", "WATCHDOG_PID=", "SYSTEMD_EXEC_PID=", "LISTEN_PID=5", "MY_LISTEN_PID=", "B"}
	fillInPID(env, 42)
	want := []string{"A=", "LISTEN_PID=42", "WATCHDOG_PID=42", "SYSTEMD_EXEC_PID=42", "LISTEN_PID=5", "MY_LISTEN_PID=", "B"}
	if !slices.Equal(env, want) {
		t.Errorf("got %q, want %q", env, want)
	}
}

func TestExecDescribesItsSocketsAnew(t *testing.T) {
	env := []string{"LISTEN_FDS=1", "LISTEN_PID=3", "A=1", "LISTEN_FDNAMES=x", "LISTEN_PIDFDID=4", "NOTIFY_SOCKET=/n", "WATCHDOG_PID=3"}
	got := execEnviron(env, []activation.Socket{{Name: "a"}, {Name: "b"}})
	want := []string{"A=1", "NOTIFY_SOCKET=/n", "WATCHDOG_PID=3", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b", "LISTEN_PID="}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestServerHasTheVariablesThatItReadsAndNoneOfAPredecessor: what was taken over would
// lie to the server, whose descriptors have other numbers. What is nobody's business of
// ours goes on.
func TestServerHasTheVariablesThatItReadsAndNoneOfAPredecessor(t *testing.T) {
	env := []string{"A=1", "NGINX=6;7;", "SERVER_STARTER_PORT=80=5", "SERVER_STARTER_GENERATION=9", "UNICORN_FD=5", "NGINX_VERSION=1"}
	tcp := bound(t, "tcp:127.0.0.1:0")
	sockets := []activation.Socket{tcp}
	starter := "SERVER_STARTER_PORT=" + address(t, tcp) + "=3"
	for _, c := range []struct {
		name   string
		o      Options
		want   []string
		number int
	}{
		{"nothing", Options{}, env, 1},
		{"taken over", Options{Import: conventions("nginx", "server-starter")}, []string{"A=1", "UNICORN_FD=5", "NGINX_VERSION=1"}, 1},
		{"read", Options{Export: conventions("nginx", "server-starter")},
			[]string{"A=1", "UNICORN_FD=5", "NGINX_VERSION=1", "NGINX=3;", starter, "SERVER_STARTER_GENERATION=4"}, 4},
		{"both", Options{Import: conventions("nginx", "unicorn"), Export: conventions("nginx")},
			[]string{"A=1", "SERVER_STARTER_PORT=80=5", "SERVER_STARTER_GENERATION=9", "NGINX_VERSION=1", "NGINX=3;"}, 1},
	} {
		before := slices.Clone(env)
		got, err := withConventions(env, c.o, sockets, c.number)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q, %v\nwant %q", c.name, got, err, c.want)
		}
		if !slices.Equal(env, before) {
			t.Errorf("%s: the environment itself was changed", c.name)
		}
	}
}

// TestVariableThatIsTooLongIsNamed: execve(2) says of none in particular that it is.
func TestVariableThatIsTooLongIsNamed(t *testing.T) {
	sockets := slices.Repeat([]activation.Socket{bound(t, "tcp:127.0.0.1:0")}, 10_000)
	_, err := withConventions(nil, Options{Export: conventions("nghttpx", "server-starter")}, sockets, 1)
	checkError(t, "10000 sockets", err, "export server-starter: SERVER_STARTER_PORT would have ")
}

func conventions(names ...activation.Convention) []activation.Convention { return names }

func address(t *testing.T, s activation.Socket) string {
	t.Helper()
	sa, err := unix.Getsockname(s.FD)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
}

func TestWatchdogIsForTheProcessThatItNames(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{nil, ""},
		{[]string{"WATCHDOG_USEC=5"}, "5"},
		{[]string{"WATCHDOG_USEC=5", "WATCHDOG_PID=42"}, "5"},
		{[]string{"WATCHDOG_USEC=5", "WATCHDOG_PID=43"}, ""},
		{[]string{"WATCHDOG_PID=42"}, ""},
	} {
		if got := watchdog(c.env, 42); got != c.want {
			t.Errorf("%q: got %q, want %q", c.env, got, c.want)
		}
	}
}

func TestVariablesAreFoundByTheirWholeName(t *testing.T) {
	env := []string{"AB=1", "A=2", "A=3", "B", "C="}
	for name, want := range map[string]string{"A": "2", "AB": "1", "B": "", "C": "", "D": ""} {
		if got := value(env, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got, want := without(env, "A", "B"), []string{"AB=1", "C="}; !slices.Equal(got, want) {
		t.Errorf("without A and B: got %q, want %q", got, want)
	}
}

func TestRuntimeDirectoryIsTheFirst(t *testing.T) {
	for _, c := range []struct{ value, want string }{
		{"", ""}, {"/run/web", "/run/web"}, {"/run/web:/run/other", "/run/web"}, {"run/web", ""}, {":/run/web", ""},
	} {
		if got := runtimeDirectory([]string{"RUNTIME_DIRECTORY=" + c.value}); got != c.want {
			t.Errorf("%q: got %q, want %q", c.value, got, c.want)
		}
	}
	if got := runtimeDirectory(nil); got != "" {
		t.Errorf("not set: got %q, want nothing", got)
	}
}
