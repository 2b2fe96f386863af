package handoff

import (
	"fmt"
	"os"
	"os/signal"

	"github.com/flipexec/flipexec/pidfile"
	"golang.org/x/sys/unix"
)

// keeperFD is where a keeper finds the channel to its launcher.
const keeperFD = 3

// A keeper and a stage are this program in another role, told by argv[0]. They
// are begun here, in an init function, because packages are initialised in the
// order of their dependencies and then of their import paths (the Go
// specification, "Program initialization"): main, the command line library and
// all that it needs come after this package and are never set up in a process
// that lives long, or that every start has to wait for. Measured by
// TestKeeperInitialisesNoCommandLineLibrary.
func init() {
	switch os.Args[0] {
	case keeperRole:
		if err := runKeeper(); err != nil {
			say("keeper: %v", err)
			os.Exit(ExitFailed)
		}
		os.Exit(0)
	case foregroundRole:
		os.Exit(runForeground(os.Args))
	case stageRole:
		runStage(os.Args)
	}
}

// runKeeper reads what the launcher sends and looks after the generation until it
// is gone.
func runKeeper() error {
	shield()
	unix.CloseOnExec(keeperFD)
	os.WriteFile("/proc/self/comm", []byte("flipexec"), 0) // best effort: or ps(1) calls it "exe"
	c, err := newChannel(keeperFD)
	if err != nil {
		return err
	}
	m, err := c.receive()
	if err != nil {
		return err
	}
	defer m.close()
	if m.kind != msgStart {
		return fmt.Errorf("message %q was not expected", m.kind)
	}
	k := &keeper{
		env: os.Environ(), manager: m.get("manager"), dir: m.get("directory"), private: m.get("private") == "true",
		cgroup: m.get("cgroup"), launcher: c, stageFD: -1, thrifty: m.descriptors() > manyDescriptors,
	}
	if err := k.take(&m); err != nil {
		return err
	}
	if k.Server.pid != 0 {
		if err := k.adopt(); err != nil {
			return err
		}
	}
	k.run()
	return nil
}

// shield keeps signals away that are sent to every process of the unit, by a stop or
// by systemctl kill: they mean the server, and the keeper leaves when that has left.
// They are caught at first, because what is ignored would be inherited by the stage.
// (What we were started with ignored, of which the runtime shows SIGHUP and SIGINT
// only, stays so.)
func shield() {
	var caught []os.Signal
	for sig := unix.Signal(1); sig <= 64; sig++ {
		if !signal.Ignored(sig) {
			caught = append(caught, sig)
		}
	}
	signal.Notify(make(chan os.Signal, 1), caught...)
}

// take reads the rest of what the launcher sends.
func (k *keeper) take(m *message) (err error) {
	if k.launcherProcess, err = takeProcess(m, "launcher"); err != nil {
		return err
	}
	if k.estate, err = estateFrom(m); err != nil {
		return err
	}
	k.about = fmt.Sprintf("generation %d ", k.Generation)
	if k.options, err = ParseOptions(k.Settings, os.LookupEnv); err != nil {
		return err
	}
	if k.options.PIDFile != "" {
		k.pidBefore, _ = pidfile.Read(k.options.PIDFile) // 0 if there is none
	}
	for _, p := range k.Older {
		p.members = membersOf(p.generation, p.server, k.env)
		k.predecessor = p
	}
	k.parent, _ = takeProcess(m, "parent") // none if its end means nothing
	if k.Server.pid == 0 {
		return nil
	}
	if k.main, err = takeProcess(m, "main"); err == nil && k.main.pid == k.Server.pid {
		k.main.close()
		k.main = k.Server
	}
	return err
}
