//go:build linux

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// manySockets are so many, of kinds by turns.
func manySockets(n int) (all []declared) {
	for i := range n {
		switch port := 20000 + i; i % 4 { // below the ports that the kernel gives to clients
		case 0:
			all = append(all, declared{fmt.Sprintf("tcp:127.0.0.1:%d", port), fmt.Sprintf("tcp 127.0.0.1:%d", port)})
		case 1:
			all = append(all, declared{fmt.Sprintf("udp:127.0.0.1:%d", port), fmt.Sprintf("udp 127.0.0.1:%d", port)})
		case 2:
			all = append(all, declared{fmt.Sprintf("unix:@many/%d", port), fmt.Sprintf("unix @many/%d", port)})
		case 3:
			all = append(all, declared{fmt.Sprintf("unixgram:@many/%d", port), fmt.Sprintf("unixgram @many/%d", port)})
		}
	}
	return all
}

// manyUnit is a unit with these sockets.
func manyUnit(sockets []declared, more ...string) string {
	return strings.Replace(unitText(kindsServer, more...), " --listen http=tcp::80", listenOptions(sockets), 1)
}

// TestThousandsOfSockets: ten thousand of them through a start and two reloads, under load
// on some, whoever the server runs as, and with hardly more descriptors than that.
func TestThousandsOfSockets(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"root", "rig"} {
		t.Run(user, func(t *testing.T) {
			r := boot(t, "host")
			sockets := manySockets(10_000)
			install(t, r, manyUnit(sockets, "LimitNOFILE=10100", "User="+user))
			must(t, r, "start", "web")
			checkEach(t, r, sockets, 1)
			var loads []*kindsLoad
			for _, i := range []int{0, 1, 2, 3, len(sockets) - 4} {
				loads = append(loads, startKindsLoad(t, r, sockets[i].at))
			}
			for generation := 2; generation <= 3; generation++ {
				must(t, r, "reload", "web")
				awaitOneGeneration(t, r)
				checkEach(t, r, sockets, generation)
			}
			for _, l := range loads {
				l.stop(t, 3)
			}
		})
	}
}

// TestThousandsOfSocketsOutliveACrash in systemd's store: they are the same ones. What has no
// room in LISTEN_FDNAMES of the next start is bound anew, and each answers.
func TestThousandsOfSocketsOutliveACrash(t *testing.T) {
	t.Parallel()
	for n, all := range map[int]bool{1_000: true, 10_000: false} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := boot(t, "host")
			sockets := manySockets(n)
			text := manyUnit(sockets, "LimitNOFILE=10100", fmt.Sprintf("FileDescriptorStoreMax=%d", n), "Restart=always")
			install(t, r, strings.Replace(text, "flipexec --listen", "flipexec --fdstore --listen", 1))
			must(t, r, "start", "web")
			pid, first, last := mainPID(t, r), socketOf(t, r, 3), socketOf(t, r, 2+n)
			must(t, r, "kill", "--signal=KILL", "web")
			rig.WaitFor(t, "systemd has started it again", 60*time.Second, func() bool { return mainPID(t, r) != pid && show(r, "SubState") == "running" })
			awaitLauncher(t, r)
			checkEach(t, r, sockets, 1)
			if got := socketOf(t, r, 3); got != first {
				t.Errorf("first socket: got %s, want %s", got, first)
			}
			if got := socketOf(t, r, 2+n); (got == last) != all {
				t.Errorf("last socket: got %s after %s, want the same: %v", got, last, all)
			}
			if said := strings.Contains(r.Journal("web.service"), "LISTEN_FDNAMES has no room for "); said == all {
				t.Errorf("a line about the room: got %v", said)
			}
		})
	}
}

// socketOf is what a descriptor of the main process leads to.
func socketOf(t *testing.T, r *rig.Rig, fd int) string {
	t.Helper()
	return inRig(t, r, fmt.Sprintf("readlink /proc/%d/fd/%d", mainPID(t, r), fd))
}

// TestExecOfThousandsOfSockets: each finds its place among the others.
func TestExecOfThousandsOfSockets(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	sockets := manySockets(10_000)
	install(t, r, strings.Replace(manyUnit(sockets, "LimitNOFILE=10100"), "flipexec --listen", "flipexec exec --listen", 1))
	inRig(t, r, "sed -i 's/--pid-file=[^ ]* //' /etc/systemd/system/web.service && systemctl daemon-reload")
	must(t, r, "start", "web")
	checkEach(t, r, sockets, 0)
}

// TestSocketsThatDoNotFitAreRefused: by the name of the limit, and a server that runs
// keeps its own.
func TestSocketsThatDoNotFitAreRefused(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	sockets := manySockets(4_000)
	sockets, others := sockets[:2_000], sockets[2_000:]
	// Nobody else's: RLIMIT_NOFILE bounds what a user has on its way in all rigs together.
	fits := manyUnit(sockets, "User=daemon", "LimitNOFILE=2100", "Restart=no")
	narrow := strings.Replace(fits, "LimitNOFILE=2100", "LimitNOFILE=1500", 1)
	install(t, r, narrow)
	if out, err := r.Systemctl("start", "web"); err == nil {
		t.Fatalf("start: got success: %s", out)
	}
	checkLines(t, r, "start: 2000 descriptors do not fit into RLIMIT_NOFILE, which is 1500; hint: LimitNOFILE=2032 or more in the unit", 1)

	install(t, r, fits)
	must(t, r, "start", "web")
	pid := mainPID(t, r)
	for _, c := range []struct{ name, unit, line string }{
		{"less room", narrow, "running generation: message estate: descriptors="},
		{"no room for others beside them", strings.Replace(fits, "flipexec reload", "flipexec reload"+listenOptions(others), 1),
			": socket: too many open files; hint: LimitNOFILE= in the unit"},
	} {
		install(t, r, c.unit)
		if out, err := r.Systemctl("reload", "web"); err == nil {
			t.Errorf("%s: got success: %s", c.name, out)
		}
		if j := r.Journal("web.service"); !strings.Contains(j, c.line) {
			t.Errorf("%s: journal: want %q in\n%s", c.name, c.line, j)
		}
		checkEach(t, r, sockets, 1)
		if got := mainPID(t, r); got != pid {
			t.Errorf("%s: main process: got %d, want %d", c.name, got, pid)
		}
	}
	checkNone(t, r, others)
}

// TestServerWithoutADescriptorToSpare: its soft limit is the unit's. A Go program raises it
// by itself; one that needs libraries cannot open them, and does not come so far.
func TestServerWithoutADescriptorToSpare(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	sockets := manySockets(1_100)
	text := manyUnit(sockets, "LimitNOFILE=1024:4096", "Restart=no")
	install(t, r, text)
	must(t, r, "start", "web")
	checkEach(t, r, sockets, 1)
	if j := r.Journal("web.service"); strings.Contains(j, "hint:") {
		t.Errorf("journal: want no hint in\n%s", j)
	}
	install(t, r, strings.Replace(text, "flipexec reload", "flipexec reload -- /bin/sleep 60", 1))
	if out, err := r.Systemctl("reload", "web"); err == nil {
		t.Errorf("reload: got success: %s", out)
	}
	checkLines(t, r, "generation 2: server exited with status 127 before it was ready; "+
		"hint: its RLIMIT_NOFILE of 1024 leaves no descriptor beside 1100 sockets, LimitNOFILE= in the unit", 1)
	checkEach(t, r, sockets, 1)
}
