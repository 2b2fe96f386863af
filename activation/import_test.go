package activation_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// roleImport prints what conventions passed on beside LISTEN_FDS, as "FD NAME TYPE
// CLOEXEC", after it opened descriptors of its own.
func roleImport() error {
	if err := ownNumbers(); err != nil {
		return err
	}
	var own [2]int
	if err := unix.Pipe2(own[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	inherited, err := activation.Inherited(os.LookupEnv)
	if err != nil {
		return err
	}
	all, err := activation.ParseImport(os.Getenv("IMPORT"))
	if err != nil {
		return err
	}
	imported, err := activation.Import(all, inherited, os.LookupEnv)
	if err != nil {
		return err
	}
	return printSockets(imported)
}

func TestImportTakesWhatWasPassed(t *testing.T) {
	sockets := []activation.Socket{bind(t, "tcp:127.0.0.1:0"), bind(t, "udp:127.0.0.1:0")}
	for _, c := range []struct {
		name string
		env  []string
		want string
	}{
		{"all", []string{"IMPORT=nginx", "NGINX=3;4;"}, "3 nginx-1 1 true \"\"\n4 nginx-2 2 true \"\""},
		{"in another order", []string{"IMPORT=unicorn", "UNICORN_FD=4,3"}, "4 unicorn-1 2 true \"\"\n3 unicorn-2 1 true \"\""},
		{"of two conventions", []string{"IMPORT=nginx,server-starter", "NGINX=4;", "SERVER_STARTER_PORT=80=3"},
			"4 nginx-1 2 true \"\"\n3 server-starter-1 1 true \"\""},
		{"beside LISTEN_FDS", []string{"IMPORT=nginx", "LISTEN_PID=PID", "LISTEN_FDS=1", "NGINX=3;4;"}, `4 nginx-2 2 true ""`},
		{"the same of both", []string{"IMPORT=nginx,unicorn", "NGINX=3;", "UNICORN_FD=3"}, `3 nginx-1 1 true ""`},
		{"not asked for", []string{"IMPORT=unicorn", "NGINX=3;4;"}, ""},
		{"nobody handed over", []string{"IMPORT=nginx"}, ""},
	} {
		got, err := inRole(t, "import", sockets, c.env...)
		if err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

// TestImportRefusesWhatWasNotPassed: invariant I10, for variables that lie. They may be
// those of a server that has started us for something else.
func TestImportRefusesWhatWasNotPassed(t *testing.T) {
	sockets := []activation.Socket{bind(t, "tcp:127.0.0.1:0"), bind(t, "fifo:"+path(t))}
	for name, c := range map[string]struct{ value, want string }{
		"opened by the process itself": {"3;5;", "import nginx: descriptor 5 was not passed"},
		"not open":                     {"900;", "import nginx: descriptor 900 was not passed"},
		"no socket":                    {"3;4;", "import nginx: descriptor 4 is no socket"},
		"no number":                    {"many;", `import nginx: NGINX="many;": "many" is no descriptor`},
	} {
		got, err := inRole(t, "import", sockets, "IMPORT=nginx", "NGINX="+c.value)
		if err == nil || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
		}
	}
}

// TestExportNamesSocketsByTheirAddress, as far as conventions have a word for it.
func TestExportNamesSocketsByTheirAddress(t *testing.T) {
	at := path(t)
	sockets := []activation.Socket{
		bind(t, "netlink:kobject-uevent:1"), bind(t, "tcp:127.0.0.1:0"), bind(t, "unix:@export"), bind(t, "tcp:[::]:0"),
		bind(t, "unix:"+at), bind(t, "unixpacket:"+at+"2"), bind(t, "udp:127.0.0.1:0"),
	}
	got, err := activation.Convention("server-starter").Export(sockets, 7)
	want := fmt.Sprintf("[SERVER_STARTER_PORT=127.0.0.1:%d=4;[::]:%d=6;%s=7 SERVER_STARTER_GENERATION=7]",
		port(t, sockets[1]), port(t, sockets[3]), at)
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	got, err = activation.Convention("nginx").Export(sockets, 7)
	if want := "[NGINX=4;6;7;9;]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if got, err := activation.Convention("unicorn").Export(sockets, 7); err == nil {
		t.Errorf("got %q for a convention that is not written", got)
	}
	_, err = activation.Convention("server-starter").Export([]activation.Socket{bind(t, "app=unix:"+at+";3")}, 1)
	if want := "export server-starter: socket app: SERVER_STARTER_PORT cannot say "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
