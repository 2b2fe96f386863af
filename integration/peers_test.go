//go:build linux

package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
	"golang.org/x/sys/unix"
)

// controlPath is the control socket of web.service.
const controlPath = "/run/web/flipexec.sock"

// buildPeer makes the program that means no good.
func buildPeer(t *testing.T) {
	t.Helper()
	if err := makePeer(); err != nil {
		t.Fatal(err)
	}
}

var makePeer = sync.OnceValue(func() error {
	cmd := exec.Command("go", "build", "-o", programs, "./peer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", cmd, err, out)
	}
	return nil
})

// bother runs it as a user of the rig until stop, which is also called at the end.
func bother(t *testing.T, r *rig.Rig, user string, uid int, args ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := r.UserCommand(ctx, user, uid, append([]string{"/opt/flipexec/peer"}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = func() {
		if ctx.Err() == nil {
			select {
			case err := <-ended:
				t.Errorf("peer %q has ended: %v", args, err)
			default:
			}
		}
		cancel()
	}
	t.Cleanup(stop)
	return stop
}

// dial connects the test, which is root, to the control socket.
func dial(t *testing.T, r *rig.Rig, address string) *net.UnixConn {
	t.Helper()
	var c net.Conn
	rig.WaitFor(t, "a connection", 10*time.Second, func() (done bool) {
		var err error
		if c, err = r.Dial(t.Context(), "unixpacket", address); err != nil && !errors.Is(err, unix.EAGAIN) { // backlog full
			t.Fatal(err)
		}
		return err == nil
	})
	t.Cleanup(func() { c.Close() })
	return c.(*net.UnixConn)
}

// descriptors counts those of the only keeper.
func descriptors(t *testing.T, r *rig.Rig) int {
	t.Helper()
	return len(listProc(t, r, keeperPID(t, r), "fd"))
}

// settled counts them once the keeper has nothing more to do: it lets go of the
// previous generation a moment after that one's keeper has left.
func settled(t *testing.T, r *rig.Rig) int {
	t.Helper()
	awaitSleep(t, r, keeperPID(t, r))
	return descriptors(t, r)
}

// anonymous is the memory of the only keeper that is no file's, in KiB.
func anonymous(t *testing.T, r *rig.Rig) int {
	t.Helper()
	text := strings.Join(fields(readProc(t, r, keeperPID(t, r), "status"), "RssAnon"), "")
	kib, err := strconv.Atoi(strings.TrimSuffix(text, " kB"))
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

// checkReload reloads, which must not take as long as anything waits for a peer.
func checkReload(t *testing.T, r *rig.Rig) {
	t.Helper()
	pid, begin := mainPID(t, r), time.Now()
	must(t, r, "reload", "web")
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("reload took %v", took)
	}
	if got := mainPID(t, r); got == pid {
		t.Errorf("main process: still %d", pid)
	}
	awaitOneGeneration(t, r)
}

// checkLines bounds how often something is said.
func checkLines(t *testing.T, r *rig.Rig, what string, most int) {
	t.Helper()
	if n := strings.Count(r.Journal("web.service"), what); n == 0 || n > most {
		t.Errorf("journal: got %d lines of %q, want 1 to %d", n, what, most)
	}
}

// TestManyConnectionsOfTheSameUser: a thousand are held open for each generation, and
// others come and go. The keeper holds few of them, and serves every launcher.
func TestManyConnectionsOfTheSameUser(t *testing.T) {
	t.Parallel()
	buildPeer(t)
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	before, memory := settled(t, r), anonymous(t, r)
	stop := bother(t, r, "root", 0, "connect", controlPath)
	for range 3 {
		for range 1000 {
			dial(t, r, controlPath)
		}
		rig.WaitFor(t, "the keeper has some of them", 10*time.Second, func() bool { return descriptors(t, r) > before })
		if now := descriptors(t, r); now > before+17 { // one of them just accepted
			t.Errorf("descriptors of the keeper: got %d, want up to 17 more than %d", now, before)
		}
		checkReload(t, r)
	}
	if now := anonymous(t, r); now > memory+8<<10 { // the runtime collects garbage from 4 MiB on
		t.Errorf("memory of the keeper: got %d KiB, had %d", now, memory)
	}
	stop()
	rig.WaitFor(t, "the keeper has its descriptors back", 10*time.Second, func() bool { return descriptors(t, r) == before })
}

// TestStrangersAreDisconnectedUnread: invariant I9, where an abstract name lets every
// user connect. What they ask for would be served if it was read.
func TestStrangersAreDisconnectedUnread(t *testing.T) {
	t.Parallel()
	buildPeer(t)
	r := boot(t, "host")
	text := unitText(goServer, "RuntimeDirectory=", "User=daemon", "AmbientCapabilities=CAP_NET_BIND_SERVICE")
	install(t, r, strings.Replace(text, " --pid-file=/run/web/web.pid", "", 1))
	must(t, r, "start", "web")
	name := "@flipexec/" + show(r, "InvocationID") + "/web.service"
	before := settled(t, r)
	out, err := r.RunAs("rig", 1000, "/opt/flipexec/peer", "ask", name, "1000")
	if got := strings.TrimSpace(out); got != "1000 hung up unheard" || err != nil {
		t.Errorf("got %q, %v, want 1000 hung up unheard", got, err)
	}
	bother(t, r, "rig", 1000, "connect", name)
	for range 3 {
		checkReload(t, r)
		rig.WaitFor(t, "the keeper has its descriptors, and one that was just accepted", 10*time.Second,
			func() bool { return descriptors(t, r) <= before+1 })
	}
	checkLines(t, r, "control socket: peer is user 1000, neither root nor user 1", 4) // one of each generation
}

// TestGarbageDoesNotKeepTheNextReload: invariant I10 on the control socket. The peer
// stays connected while the next reload goes through.
func TestGarbageDoesNotKeepTheNextReload(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	for _, c := range []struct {
		name, data string
		fds        int
	}{
		{"nothing", "", 0},
		{"text", "GET / HTTP/1.1\r\n\r\n", 0},
		{"half a message", "+reload\x00version=1\x00least=1\x00", 0},
		{"another version", ".reload\x00version=0\x00", 0},
		{"descriptors", "+reload\x00version=1\x00least=1\x00", 253},
		{"large", ".reload\x00version=1\x00a=" + strings.Repeat("x", 150<<10), 3},
	} {
		for _, stays := range []bool{true, false} {
			before, memory := settled(t, r), anonymous(t, r)
			conn := dial(t, r, controlPath)
			if c.data != "" {
				send(t, conn, c.data, c.fds)
			}
			if !stays {
				conn.Close()
			}
			if stays && c.data != "" {
				awaitEnd(t, conn)
			}
			if stays && c.data == "" {
				before++
			}
			rig.WaitFor(t, c.name+": descriptors as before", 4*time.Second, func() bool { return descriptors(t, r) == before })
			if now := anonymous(t, r); now > memory+1<<10 {
				t.Errorf("%s: memory of the keeper: got %d KiB, had %d", c.name, now, memory)
			}
			checkReload(t, r)
			conn.Close()
		}
	}
	checkAgreement(t, r)
}

func send(t *testing.T, c *net.UnixConn, data string, fds int) {
	t.Helper()
	var files []int
	for range fds {
		files = append(files, 0)
	}
	var oob []byte
	if fds > 0 {
		oob = unix.UnixRights(files...)
	}
	if _, _, err := c.WriteMsgUnix([]byte(data), oob, nil); err != nil {
		t.Fatal(err)
	}
}

// awaitEnd wants a hang-up within the time of no patience, perhaps after an answer.
func awaitEnd(t *testing.T, c *net.UnixConn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(4 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for err := error(nil); err == nil; {
		if _, err = c.Read(make([]byte, 4096)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("still connected")
		} else if err != nil && err != io.EOF && !errors.Is(err, unix.ECONNRESET) {
			t.Fatal(err)
		}
	}
}

// TestLauncherThatDoesNotReadIsLeft: an estate of many records is in its way for as
// long as one of a single record would be, and the next launcher is served.
func TestLauncherThatDoesNotReadIsLeft(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	install(t, r, unitText(goServer+strings.Repeat(" "+strings.Repeat("x", 10<<10), 60)))
	must(t, r, "start", "web")
	pid, before := checkAgreement(t, r), settled(t, r)
	conn := dial(t, r, controlPath)
	send(t, conn, ".reload\x00version=1\x00least=1\x00", 0)
	begin := time.Now()
	rig.WaitFor(t, "the keeper gives up", 8*time.Second, func() bool {
		return strings.Contains(r.Journal("web.service"), "generation 1 hand over sockets: send estate: not taken within 5s")
	})
	t.Logf("given up after %v", time.Since(begin))
	if now := descriptors(t, r); now != before {
		t.Errorf("descriptors of the keeper: got %d, want %d", now, before)
	}
	if got := checkAgreement(t, r); got != pid {
		t.Errorf("main process: got %d, want %d", got, pid)
	}
	checkReload(t, r)
}
