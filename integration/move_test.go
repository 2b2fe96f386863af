//go:build linux

package integration

import (
	"strings"
	"testing"

	"github.com/flipexec/flipexec/integration/rig"
)

// moveTo reloads with other sockets.
func moveTo(t *testing.T, r *rig.Rig, text, listen string) {
	t.Helper()
	install(t, r, socketsOf(text, "--listen http=tcp:127.0.0.1:80", listen))
	must(t, r, "reload", "web")
	checkAgreement(t, r)
}

// TestI1MovedSocketIsNeverRefused: invariant I1 for an address that is part of another,
// or has another in it.
func TestI1MovedSocketIsNeverRefused(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	text := unitText(goServer)
	install(t, r, socketsOf(text, "--listen http=tcp:127.0.0.1:80", ""))
	must(t, r, "start", "web")
	traffic := startTraffic(t, r)
	for _, address := range []string{"0.0.0.0:80", "127.0.0.1:80", ":80", "0.0.0.0:80", ":80", "127.0.0.1:80"} {
		traffic.mark("to " + address)
		moveTo(t, r, text, "--listen http=tcp:"+address)
		traffic.endMark()
		awaitOneGeneration(t, r)
		want := strings.NewReplacer(":80", "*:80", "0.0.0.0:80", "0.0.0.0:80", "127.0.0.1:80", "127.0.0.1:80").Replace(address)
		if got := inRig(t, r, "ss -Hltn 'sport = :80' | awk '{print $4}'"); got != want {
			t.Errorf("listens on %q, want %q", got, want)
		}
	}
	traffic.stop(t)
}

// TestFailedMoveLeavesTheOldSocket: invariant I2. The new address was bound already, and
// not one connection went to it.
func TestFailedMoveLeavesTheOldSocket(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to string }{{"tcp:127.0.0.1:80", "tcp::80"}, {"tcp::80", "tcp:127.0.0.1:80"}} {
		t.Run(c.from+" to "+c.to, func(t *testing.T) {
			t.Parallel()
			r := boot(t, "host")
			install(t, r, socketsOf(unitText(goServer), "--listen http="+c.from, "--listen http="+c.to+" -- /bin/sh -c 'sleep 0.3; exit 3'"))
			must(t, r, "start", "web")
			pid := checkAgreement(t, r)
			before := world(t, r)
			traffic := startTraffic(t, r)
			for range 3 {
				if out, err := r.Systemctl("reload", "web"); err == nil {
					t.Errorf("sh passes for a server: %s", out)
				}
			}
			traffic.stop(t)
			if got := checkAgreement(t, r); got != pid {
				t.Errorf("main process: got %d, want %d", got, pid)
			}
			if after := world(t, r); after != before {
				t.Errorf("changed:\n%s\nwas:\n%s", after, before)
			}
		})
	}
}

// TestMoveWithoutPrivilege: to a wider address it takes none. To a narrower one it takes
// CAP_NET_RAW, and without the reload says so.
func TestMoveWithoutPrivilege(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	text := unitText(goServer, "User=rig", "AmbientCapabilities=CAP_NET_BIND_SERVICE")
	install(t, r, socketsOf(text, "--listen http=tcp:127.0.0.1:80", ""))
	must(t, r, "start", "web")
	traffic := startTraffic(t, r)
	moveTo(t, r, text, "--listen http=tcp::80")
	install(t, r, socketsOf(text, "", "--listen http=tcp:127.0.0.1:80"))
	if out, err := r.Systemctl("reload", "web"); err == nil {
		t.Errorf("reload without the privilege: %s", out)
	}
	want := "listen http=tcp:127.0.0.1:80: it would take connections from http=tcp::80 before its server is ready, " +
		"and not doing so: setsockopt SO_BINDTOIFINDEX: operation not permitted; hint: AmbientCapabilities=CAP_NET_RAW, or systemctl restart"
	if j := r.Journal("web.service"); !strings.Contains(j, want) {
		t.Errorf("journal: want %q in\n%s", want, j)
	}
	moveTo(t, r, strings.Replace(text, "CAP_NET_BIND_SERVICE", "CAP_NET_BIND_SERVICE CAP_NET_RAW", 1), "--listen http=tcp:127.0.0.1:80")
	traffic.stop(t)
}

// TestDroppedSocketRefusesAtOnce: whatever the former server has left behind with it.
func TestDroppedSocketRefusesAtOnce(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	both := "--listen http=tcp::80 --listen more=tcp::81"
	text := unitText(`/bin/sh -c "(trap '' TERM; exec sleep 60) & exec ` + goServer + `"`)
	install(t, r, socketsOf(text, both, listenHTTP))
	must(t, r, "start", "web")
	must(t, r, "reload", "web")
	for range 10 {
		if c, err := r.Dial(t.Context(), "tcp", "127.0.0.1:81"); err == nil {
			c.Close()
			t.Fatal("port 81 is no longer declared and still accepts")
		}
	}
	if got := inRig(t, r, "ss -Hltn 'sport = :81' | wc -l"); got != "1" {
		t.Errorf("%s sockets at port 81: nobody has it any more, and nothing was tested", got)
	}
}

// TestFromListenToSocketUnit: over the restart, for which systemd waits until it starts a
// .socket unit, connections wait in the store.
func TestFromListenToSocketUnit(t *testing.T) {
	t.Parallel()
	const both = listenHTTP + "?reuseport=yes"
	r := boot(t, "host")
	text := unitText(goServer, "FileDescriptorStoreMax=4")
	install(t, r, text)
	must(t, r, "start", "web")
	traffic := startTraffic(t, r)
	if err := r.WriteUnit("web.socket", "[Socket]\nListenStream=80\nReusePort=yes\nFileDescriptorName=unit\n"); err != nil {
		t.Fatal(err)
	}
	with := "[Unit]\nRequires=web.socket\n" + socketsOf(text, both+" --fdstore", both+" --fdstore")
	install(t, r, with)
	must(t, r, "reload", "web")
	must(t, r, "restart", "web")
	checkSockets(t, r, "http:unit", "2")
	install(t, r, "[Unit]\nRequires=web.socket\n"+socketsOf(text, "", "--listen="))
	must(t, r, "reload", "web")
	awaitOneGeneration(t, r)
	checkSockets(t, r, "unit", "1")
	must(t, r, "restart", "web")
	checkSockets(t, r, "unit", "1")
	traffic.stop(t)
}

// checkSockets wants the server to have the sockets of these names, and so many to be at
// the port.
func checkSockets(t *testing.T, r *rig.Rig, names, want string) {
	t.Helper()
	checkAgreement(t, r)
	if got, _ := get(t, r, "/env?name=LISTEN_FDNAMES"); got != names {
		t.Errorf("LISTEN_FDNAMES: got %q, want %s", got, names)
	}
	if got := inRig(t, r, "ss -Hltn 'sport = :80' | wc -l"); got != want {
		t.Errorf("%s sockets at port 80, want %s", got, want)
	}
}

// TestFromSocketUnitToListen: without a restart. The socket stays systemd's own as long
// as the generations pass it on.
func TestFromSocketUnitToListen(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	if err := r.WriteUnit("web.socket", "[Socket]\nListenStream=80\nFileDescriptorName=http\n"); err != nil {
		t.Fatal(err)
	}
	text := unitText(goServer)
	install(t, r, strings.Replace(text, listenHTTP+" ", "", 1))
	must(t, r, "start", "web.socket", "web.service")
	traffic := startTraffic(t, r)
	install(t, r, socketsOf(text, listenHTTP, listenHTTP))
	must(t, r, "reload", "web")
	must(t, r, "stop", "web.socket")
	for range 3 {
		must(t, r, "reload", "web")
		checkAgreement(t, r)
		if got, _ := get(t, r, "/env?name=LISTEN_FDNAMES"); got != "http" {
			t.Errorf("LISTEN_FDNAMES: got %q, want http", got)
		}
	}
	traffic.stop(t)
	must(t, r, "restart", "web") // which binds
	checkAgreement(t, r)
	if got := inRig(t, r, "ss -Hltn 'sport = :80' | wc -l"); got != "1" {
		t.Errorf("%s sockets at port 80, want 1", got)
	}
}
