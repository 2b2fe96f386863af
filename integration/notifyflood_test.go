//go:build linux

package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// notifyPath is where the server of generation 2 speaks.
const notifyPath = "/run/web/flipexec-notify-2"

// floodNotifySocket has another user send what would end or finish the start, and
// what is no message at all, faster than it can be read.
func floodNotifySocket(t *testing.T, r *rig.Rig) {
	t.Helper()
	bother(t, r, "rig", 1000, "notify", notifyPath+".sock", "READY=1", "STOPPING=1", "READY", "MAINPID=1")
}

// TestFloodOfNotificationsDoesNotDrownTheServer: its READY=1 is heard in the end, and
// the journal stays readable. Once the generation is current nobody has a say there,
// and the keeper is not even woken.
func TestFloodOfNotificationsDoesNotDrownTheServer(t *testing.T) {
	t.Parallel()
	buildPeer(t)
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	floodNotifySocket(t, r)
	if err := <-beginReload(t, r, "GOHTTP_START_DELAY=1s"); err != nil {
		t.Errorf("systemctl reload: %v", err)
	}
	if got := checkAgreement(t, r); got == pid {
		t.Errorf("main process: still %d", pid)
	}
	awaitOneGeneration(t, r)
	checkLines(t, r, "uid 1000, which is not of this generation", 1)
	awaitSleep(t, r, keeperPID(t, r)) // in spite of the flood, which goes on
	checkReload(t, r)
}

// TestFloodOfNotificationsDoesNotExtendTheStart: a server that is never ready fails in
// its time.
func TestFloodOfNotificationsDoesNotExtendTheStart(t *testing.T) {
	t.Parallel()
	buildPeer(t)
	r := boot(t, "host")
	install(t, r, unitText(goServer))
	must(t, r, "start", "web")
	pid := checkAgreement(t, r)
	floodNotifySocket(t, r)
	done := beginReload(t, r, "GOHTTP_HANG=1 FLIPEXEC_READY_TIMEOUT=2s")
	begin := time.Now()
	if err := <-done; err == nil {
		t.Error("systemctl reload: got success")
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("failed after %v, want 2s", took)
	}
	if j, want := r.Journal("web.service"), "generation 2: not ready after 2s"; !strings.Contains(j, want) {
		t.Errorf("journal: want %q in:\n%s", want, j)
	}
	if got := checkAgreement(t, r); got != pid {
		t.Errorf("main process: got %d, want %d", got, pid)
	}
}
