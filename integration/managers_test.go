//go:build linux

package integration

import (
	"fmt"
	"strings"
	"testing"
)

// TestManagers is what MANAGERS.md says, under each manager. It writes that file, and
// fails if the one in the repository says something else (FLIPEXEC_UPDATE=1 replaces
// it).
func TestManagers(t *testing.T) {
	t.Parallel()
	all := managers()
	var names []string
	for _, m := range all {
		names = append(names, m.name)
	}
	report := newTable("MANAGERS.md", managersHead(all), names)
	t.Run("under", func(t *testing.T) {
		for _, m := range all {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				report.add(m.name, m.row(m.check(t)))
			})
		}
	})
	report.check(t)
}

// conduct is what MANAGERS.md says of a manager.
type conduct struct{ start, reload, failure, stop, crash, left string }

func (m manager) row(c conduct) string {
	return "| " + strings.Join([]string{m.name, c.start, c.reload, c.failure, c.stop, c.crash, c.left}, " | ") + " |\n"
}

// managersHead is for people: what to write where, once for each kind of manager.
func managersHead(all []manager) string {
	var b strings.Builder
	seen := map[string]bool{}
	for _, m := range all {
		if seen[m.setup] {
			continue
		}
		seen[m.setup] = true
		fmt.Fprintf(&b, "%s:\n\n    %s\n\nReload: `%s`", m.setup, strings.ReplaceAll(m.lines, "\n", "\n    "), m.reload)
		if m.ask != m.reload && !m.waits {
			fmt.Fprintf(&b, ", or `%s`, which says whether that worked", m.ask)
		}
		b.WriteString(".\n\n")
	}
	return fmt.Sprintf(managersText, b.String())
}

const managersText = `# What runs flipexec

Written by TestManagers, with the real programs; the test of a row is
TestManagers/under/MANAGER, with "_" for blanks.

## What to write

Nothing else in a service directory, a bundle or a unit has to do with flipexec.
KillMode=mixed lets flipexec tell the server to stop, and not systemd as well.

%s## What was seen

The server is a shell script that reads its configuration and then executes an HTTP
server. The columns:

- start: generation 1 answers;
- reloads: ten by the manager's own word, and how many of the requests failed that
  arrived meanwhile;
- failed reload: who tells of a new server that exits with status 3, and why it
  failed: a command by its exit status, the log, systemctl status. The old server
  serves on;
- stop: what becomes of a request that takes a second more, and the exit status that
  the manager sees;
- crash: what the manager sees of a server that exits with status 7, and of one that
  gets SIGKILL. The next start serves;
- left over: processes, sockets and files of flipexec and the server after a stop.

| manager | start | reloads | failed reload | stop | crash | left over |
|---|---|---|---|---|---|---|
`
