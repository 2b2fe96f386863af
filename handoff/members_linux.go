package handoff

import (
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// members tells the processes of one generation from all others. They are
//
//   - its leaders: the server, what that named with MAINPID=, and who was found to be
//     a member and is still held;
//   - the processes of a session that a leader began, wherever they have moved by
//     setpgid(2);
//   - those in the generation's own cgroup, if it has one;
//   - those that were started with its notify path in their environment, in this run
//     of the unit: a server that daemonized has neither parent nor session left to
//     show;
//   - the living descendants of all of them.
//
// But for the leaders, which are held, they are in the cgroup of our unit: what
// systemd itself would not end with the unit is not ours to end. Keepers and
// launchers have sessions of their own, the manager for a parent, and its own
// socket in their environment.
type members struct {
	leaders    []process // the caller's
	notifyPath string    // "" if unknown
	invocation string    // INVOCATION_ID, one for each run of a unit
	unit       string    // the unit's cgroup, "" if unknown: then sessions and descent count alone
	cgroup     string    // the generation's own, "" if it has none
}

func newMembers(env []string, notifyPath, cgroup string, leaders ...process) members {
	return members{
		leaders:    slices.DeleteFunc(leaders, func(p process) bool { return p.pid == 0 }),
		notifyPath: notifyPath,
		invocation: value(env, "INVOCATION_ID"),
		unit:       unitCgroup(proc{}.cgroup(os.Getpid())),
		cgroup:     cgroup,
	}
}

// membersOf tells the processes of an earlier generation, which has its own keeper
// for that. If that one dies, its server is all that we know, as long as it runs.
func membersOf(generation int, server process, env []string) members {
	m := newMembers(env, "", "", server)
	link, cgroup := value(proc{}.environ(server.pid), "NOTIFY_SOCKET"), proc{}.cgroup(server.pid)
	if !server.running() { // and what we read may be somebody else's
		return m
	}
	// Nobody's but the generation's own: the manager's is in every keeper's environment.
	if filepath.Base(link) == filepath.Base(notifyLink("", generation)) {
		m.notifyPath = link
	}
	if own := filepath.Join(m.unit, cgroupName(generation)); within(cgroup, own) {
		m.cgroup = own
	}
	return m
}

// include reports whether process pid is of the generation. known holds what is
// decided already, for one look at the table.
func (m members) include(pid int, t table, known map[int]bool) bool {
	if in, ok := known[pid]; ok {
		return in
	}
	known[pid] = false // ends the circles in which numbers that change hands may lead
	if slices.ContainsFunc(m.leaders, func(l process) bool { return l.pid == pid }) {
		known[pid] = true
		return true
	}
	st, err := t.stat(pid)
	if err != nil || pid <= 1 {
		return false
	}
	cgroup := t.cgroup(pid)
	if m.unit != "" && !within(cgroup, m.unit) {
		return false
	}
	known[pid] = m.inSession(st) || within(cgroup, m.cgroup) || m.include(st.parent, t, known) || m.inEnvironment(t, pid)
	return known[pid]
}

func (m members) inSession(st procStat) bool {
	return slices.ContainsFunc(m.leaders, func(l process) bool { return l.pid == st.session })
}

// inEnvironment is good for processes of the unit only: anybody can set a variable.
func (m members) inEnvironment(t table, pid int) bool {
	if m.unit == "" || m.notifyPath == "" {
		return false
	}
	env := t.environ(pid)
	return value(env, "NOTIFY_SOCKET") == m.notifyPath && value(env, "INVOCATION_ID") == m.invocation
}

// cannotTell reports whether a process may be of the generation and not show it just
// now: in the middle of execve(2) it has an environment no more, and not yet
// (environ_read, fs/proc/base.c).
func (m members) cannotTell(pid int, st procStat, t table) bool {
	return m.unit != "" && m.notifyPath != "" && st.bare && st.state != 'Z' && within(t.cgroup(pid), m.unit) && t.environ(pid) != nil
}

// has reports whether process pid is of the generation now.
func (m members) has(pid int) bool { return m.current().include(pid, proc{}, map[int]bool{}) }

// current is m without leaders whose number, and with it the session, is by now
// another process's.
func (m members) current() members {
	m.leaders = slices.DeleteFunc(slices.Clone(m.leaders), func(l process) bool {
		st, err := readStat(l.pid)
		return err == nil && st.state != 'Z' && !l.running()
	})
	return m
}

// A sighting is a member that was seen, and may have gone.
type sighting struct {
	pid     int
	started string
}

// look is one look at all processes of the system. Nobody is in it twice, and we
// never are. It is doubtful if somebody may have been missed who was there.
func (m members) look() (seen []sighting, doubtful bool) {
	m, known := m.current(), map[int]bool{os.Getpid(): false}
	for _, pid := range listProcesses() {
		st, err := readStat(pid) // first: whoever has the number now is judged
		switch {
		case err != nil:
		case m.include(pid, proc{}, known):
			seen = append(seen, sighting{pid, st.started})
		case m.cannotTell(pid, st, proc{}):
			doubtful = true
		}
	}
	return seen, doubtful
}

// hold opens the process that was seen, if it still runs.
func (s sighting) hold() (process, bool) {
	p, err := open(s.pid)
	if err != nil {
		return process{}, false
	}
	if st, err := readStat(s.pid); err != nil || st.started != s.started || !p.running() {
		p.close() // or the number changed hands between the two looks
		return process{}, false
	}
	return p, true
}

// maxHeld bounds the descriptors of those that we wait for. Who is left over is
// found by the next look, once these have gone.
const maxHeld = 64

// hold holds living processes of the generation, if there are any, for the caller.
func (m members) hold() (held []process) {
	for i := range maxLooks {
		seen, doubtful := m.look()
		for _, s := range seen {
			if p, ok := s.hold(); ok && len(held) < maxHeld {
				held = append(held, p)
			} else if ok {
				p.close()
			}
		}
		if len(held) > 0 || i > 0 && !doubtful { // who forks and exits while we read can hide from one look
			break
		}
	}
	return held
}

// maxLooks bounds the work on processes that fork faster than we read.
const maxLooks = 100

// kill sends SIGKILL to every process of the generation. It looks before it kills,
// because who loses its parent can be lost, and repeats that until it finds nobody
// new, because a process may fork while we read; after SIGKILL it no longer can.
func (m members) kill() {
	killed := map[sighting]bool{}
	for range maxLooks {
		seen, again := m.look()
		killCgroup(m.cgroup)
		for _, l := range m.leaders { // ProtectProc= may hide one that changed its user
			l.signal(unix.SIGKILL) // best effort: what runs as another user ends with the unit
		}
		for _, s := range seen {
			p, ok := s.hold()
			if !ok {
				continue
			}
			p.signal(unix.SIGKILL) // best effort, as above
			p.close()
			again = again || !killed[s]
			killed[s] = true
		}
		if !again {
			return
		}
	}
}
