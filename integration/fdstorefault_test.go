//go:build linux

package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
	"golang.org/x/sys/unix"
)

// bootStoreFaults starts a unit whose reload replaces a socket, and that stops at a step.
func bootStoreFaults(t *testing.T) *faultRig {
	t.Helper()
	r := &faultRig{bootStoring(t, "trixie"), nil}
	inRig(t, r.Rig, "mkdir "+faultFiles)
	install(t, r.Rig, strings.NewReplacer(
		"/opt/flipexec/flipexec reload", "/opt/flipexec/faults/flipexec reload --listen http=tcp::80 --listen new=tcp::82",
		"/opt/flipexec/flipexec", "/opt/flipexec/faults/flipexec").Replace(storingUnit("trixie", "--listen old=tcp::81")))
	must(t, r.Rig, "start", "web")
	r.settle(t)
	checkStore(t, r.Rig, "start", "http", "old")
	return r
}

// beginStoreReload returns the launcher, which has stopped when systemd follows the new
// server and has not been told of its sockets.
func (r *faultRig) beginStoreReload(t *testing.T) (launcher int) {
	t.Helper()
	inRig(t, r.Rig, "touch '"+faultFiles+"/confirmed'; systemctl reload --no-block web")
	return r.awaitStep(t, "confirmed")
}

// TestKilledLauncherLeavesTheStoreToTheNextReload: until then a crash costs what is new,
// and systemd holds what is old.
func TestKilledLauncherLeavesTheStoreToTheNextReload(t *testing.T) {
	t.Parallel()
	r := bootStoreFaults(t)
	signalHost(t, r.beginStoreReload(t), unix.SIGKILL)
	r.settle(t)
	checkStore(t, r.Rig, "killed launcher", "http", "old")
	must(t, r.Rig, "reload", "web")
	r.settle(t)
	checkStore(t, r.Rig, "next reload", "http", "new")
}

// TestStoreIsPutBackWithTheServer: the new server dies when the store is its own already,
// and before the commit. Whether the previous one serves on or systemd starts another, the
// sockets are those of before.
func TestStoreIsPutBackWithTheServer(t *testing.T) {
	t.Parallel()
	r := bootStoreFaults(t)
	first, sockets := mainPID(t, r.Rig), storeNumbers(t, r.Rig)
	keeper := r.members(t)["keeper"][0].pid
	launcher := r.beginStoreReload(t)
	server, newest := r.find(t, newServer, first, keeper), r.find(t, newKeeper, first, keeper)
	signalHost(t, newest, unix.SIGSTOP)
	signalHost(t, launcher, unix.SIGCONT)
	rig.WaitFor(t, "the store is that of the new server", 10*time.Second, func() bool {
		return strings.Join(storeNames(t, r.Rig), " ") == "flipexec=http flipexec=new"
	})
	signalHost(t, server, unix.SIGKILL)
	rig.WaitFor(t, "the new server is dead", 10*time.Second, func() bool { return stopped(server) })
	signalHost(t, newest, unix.SIGCONT)
	rig.WaitFor(t, "the launcher has left", 10*time.Second, func() bool { return len(r.members(t)["launcher"]) == 0 })
	r.settle(t)
	checkStore(t, r.Rig, "at the end", "http", "old")
	if got := storeNumbers(t, r.Rig); got != sockets {
		t.Errorf("inodes: got %q, want %q as at first", got, sockets)
	}
}
