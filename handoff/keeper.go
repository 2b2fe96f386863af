package handoff

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"time"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// keeperRole is argv[0] of a keeper.
const keeperRole = "flipexec-keeper"

// A keeper looks after one generation from the start of its server to the end of
// its last process. It is one loop over events on one thread, and asleep in
// poll(2) without a timeout while its generation is current.
type keeper struct {
	estate
	options Options
	env     []string // the launcher's, from which the server's is made
	manager string   // path of the manager's notify socket
	dir     string   // of the notify path
	private bool     // dir is ours alone
	cgroup  string   // of the generation, "" if it has none of its own

	state    state
	born     time.Time
	since    time.Time // when the state was entered
	deadline time.Time // of the state; zero for none

	launcher        *channel // nil once it is gone
	launcherProcess process
	parent          process            // the manager, if its end is ours
	deserted        bool               // it has come
	predecessor     *predecessor       // the last of Older; nil for generation 1, and once it is gone
	successor       *channel           // the peer that was sent the estate
	reserved        []activation.Place // which it may bind
	foreseen        activation.Changes // of options, which it may make
	guard           guard              // of the paths of Sockets
	callers                            // peers that have not said what they want
	thrifty         bool               // it collects on request until it settles

	notifyPath *notifyPath
	heard      bool      // it has had its turn
	main       process   // the server, or what it named with MAINPID=
	exited     bool      // main has
	rest       []process // what main left behind
	killed     bool      // SIGKILL was sent to all of them
	stageFD    int       // tells of a failed exec; -1 once that is decided
	stageText  string    // what it has told yet
	failure    error     // what the server or the stage said
	cramped    string    // a hint if the server had no descriptor to spare
	pathFailed bool      // it does not lead to the manager yet
	pidBefore  int       // in the PID file, before our launcher wrote it
	undo       bool      // the generation failed: what was made for it goes with it
}

// run is the whole life of a keeper.
func (k *keeper) run() {
	k.born = time.Now()
	k.since, k.deadline = k.born, k.born.Add(launcherTime)
	var err error
	if k.state == starting {
		k.deadline = k.born.Add(k.options.ReadyTimeout)
		err = k.start()
	}
	k.keepSpare()
	// Not before the stage is started, which would inherit it.
	signal.Ignore()
	if err != nil {
		k.failure = err
		k.handle(hasFailed)
	}
	for k.state != gone || slices.ContainsFunc(k.Older, (*predecessor).orphaned) {
		k.await()
	}
	k.leave()
}

// adopt looks after the server of a keeper that died while it was being published.
func (k *keeper) adopt() error {
	k.state = announced
	if err := k.makeNotifyPath(); err != nil {
		return err
	}
	k.say("has another keeper, pid=%d", k.main.pid)
	return chdirRoot()
}

func (k *keeper) makeNotifyPath() (err error) {
	k.notifyPath, err = newNotifyPath(k.dir, k.Generation, k.private)
	return err
}

// chdirRoot lets go of the working directory, which is the server's.
func chdirRoot() error {
	if err := unix.Chdir("/"); err != nil {
		return &os.PathError{Op: "chdir", Path: "/", Err: err}
	}
	return nil
}

// start makes the notify path and starts the stage (row 7).
func (k *keeper) start() error {
	path, err := lookPath(k.Command[0], k.env)
	if err != nil {
		return err
	}
	if err := k.makeNotifyPath(); err != nil {
		return err
	}
	files := []int{0, 1, 2}
	for _, s := range k.passed() {
		files = append(files, s.FD)
	}
	env, err := withConventions(serverEnviron(k.env, k.estate, k.notifyPath.link, k.notifyPath.store.Path()), k.options, k.Sockets, k.Generation)
	if err != nil {
		return err
	}
	k.Server, k.stageFD, err = startStage(path, k.Command, env, files, k.options)
	if err != nil {
		return err
	}
	k.main = k.Server
	k.Server.moveTo(k.cgroup)
	if err := chdirRoot(); err != nil {
		return err
	}
	k.say("starting pid=%d command=%q", k.Server.pid, path)
	reached("stage started")
	m := message{kind: msgStarted}
	m.addFD("server", strconv.Itoa(k.Server.pid), k.Server.fd)
	if err := k.launcher.send(m); err != nil {
		return err
	}
	reached("started told")
	return letGo(k.stageFD)
}

// handle moves the generation on.
func (k *keeper) handle(e event) {
	s, ok := next(k.state, e)
	if !ok {
		return
	}
	if s.do == commit && k.main.dead() {
		// The manager has not followed it if it was dead by then; and if
		// it has, it will find out. The previous server must not go, too.
		k.failure = errors.New("server exited as soon as it was ready")
		k.handle(hasFailed)
		return
	}
	from := k.state
	if s.next != k.state {
		k.state, k.since, k.deadline = s.next, time.Now(), time.Time{}
	}
	switch s.do {
	case beginProbation:
		k.beginProbation()
	case awaitLauncher:
		k.deadline = k.since.Add(launcherTime)
	case endLauncher:
		k.endLauncher()
	case tellReady:
		k.tellReady()
	case commit:
		k.commit()
	case leadPath:
		k.leadPath()
	case drain:
		k.drain()
	case finishDeserted:
		k.finishDeserted()
	case stopFailed:
		k.fail(from, e)
		k.stopFailed()
	case killFailed:
		k.fail(from, e)
		k.killRest()
	case awaitRest:
		k.awaitRest()
	case killRest:
		k.sayKill(e)
		k.killRest()
	case cleanUp:
		k.unlink()
	}
}

// say prints one line about the generation.
func (k *keeper) say(format string, args ...any) {
	say("generation %d "+format, append([]any{k.Generation}, args...)...)
}

// say prints one line. It is one write(2), so that lines of several processes do
// not mix, and not for stty(1) tostop to stop: we are not what the user started.
func say(format string, args ...any) {
	unstopped(func() error { // best effort
		_, err := fmt.Fprintf(os.Stderr, "flipexec: "+format+"\n", args...)
		return err
	})
}
