//go:build linux

package integration

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// orphans is how many processes lose their parent, and then end at once.
const orphans = 1000

// orphaner is a server whose orphans wait for the end of /run/orphans, and exit with
// another status than its own, which is 7.
const orphaner = `#!/bin/sh
trap "exit 7" USR1
mkfifo /run/orphans
i=0
while [ $i -lt %d ]; do
	( (read line </run/orphans; exit 3) & )
	i=$((i + 1))
done
systemd-notify --ready
sleep 1000 &
wait
`

// TestOrphansOfProcess1AreReaped: none stays a zombie, and none is taken for the
// server.
func TestOrphansOfProcess1AreReaped(t *testing.T) {
	t.Parallel()
	r := boot(t, "host")
	writeFile(t, r, "/etc/orphaner", fmt.Sprintf(orphaner, orphans))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := r.Command(ctx, "unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
		"/opt/flipexec/flipexec", "--listen", "http=tcp::80", "--name", "web", "--", "/bin/sh", "/etc/orphaner")
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	main := "$(pgrep -o -x flipexec)"
	children := func(state string) string {
		return inRig(t, r, "ps --no-headers -o stat --ppid "+main+" | grep -c "+state+"; true")
	}
	rig.WaitFor(t, "the orphans are process 1's", 30*time.Second, func() bool {
		// Beside them a keeper and the server.
		return children(".") == fmt.Sprint(orphans+2)
	})
	inRig(t, r, ": >/run/orphans")
	rig.WaitFor(t, "the orphans are gone", 20*time.Second, func() bool { return children(".") == "2" })
	if zombies := children("Z"); zombies != "0" {
		t.Errorf("zombies: got %s, want none", zombies)
	}
	inRig(t, r, "pkill -USR1 -f '^/bin/sh /etc/orphaner'")
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("process 1: got %v, want exit status 7\n%s", err, log.String())
	}
}
