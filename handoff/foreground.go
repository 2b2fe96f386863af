package handoff

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/notify"
	"golang.org/x/sys/unix"
)

// foregroundRole is argv[0] of a foreground process.
const foregroundRole = "flipexec-foreground"

// managerName is the file of its notify socket.
const managerName = "manager.sock"

// A foreground process is the manager where nobody else follows the main PID: it
// starts launchers, follows MAINPID=, reaps, forwards signals, and leaves with the
// status of the last server. Launchers, keepers and servers take it for systemd. It
// is one loop over events, asleep while nothing happens.
type foreground struct {
	env       []string // its own
	program   string   // what a launcher executes: the file may be a new version by then
	stop      unix.Signal
	dir       string              // of the instance
	run       string              // in it, for what this process and its generations make
	inherited []activation.Socket // for the first launcher

	control activation.Socket // where requests come in
	socket  *notify.Socket
	outer   *notify.Sender // to a manager of ours, nil without one
	signals int            // of each that arrives one byte

	launch  *launch     // under way, nil if none is
	again   bool        // a reload was asked for meanwhile
	stopped unix.Signal // was sent meanwhile, and is for whoever is the server then; 0 for none
	heard   bool        // the notify socket has had its turn
	main    process     // whom MAINPID= named last; 0 before
	former  []process
	exited  bool // main has, with status
	status  unix.WaitStatus
	leaving bool // as soon as nothing is left
	ending  int  // how often what was left was told to end
	left    bool // that is all

	reloading bool      // as our manager knows
	terminal  bool      // there is one
	lent      int       // the process group that reads from it, 0 for our own
	owed      int       // the one that had it before a server that only finishes, 0 for none
	asleep    []int     // children that have stopped
	hangup    time.Time // when it was gone

	deadline time.Time // of what was told to finish
	callers
}

// launch is a launcher at work.
type launch struct {
	process
	channel   *channel
	requester *channel // nil if a signal asked for it, or once it hung up
	server    process  // that starts, or has started meanwhile
	reason    string   // why it failed
}

// InForeground reports whether a start has to stay in front: because it is to, or
// because nobody would follow the main PID: there is no NOTIFY_SOCKET, or we are
// process 1, which nobody looks behind.
func InForeground(settings []Setting) bool {
	o, err := ParseOptions(settings, os.LookupEnv)
	if err != nil || o.Detach || os.Getenv(reportVariable) != "" {
		return false
	}
	return o.Foreground || os.Getenv("NOTIFY_SOCKET") == "" || os.Getpid() == 1
}

// Foreground becomes a foreground process, which starts generation 1 and stays until
// the last server has left. It returns only on error.
func Foreground(settings []Setting, command []string) error {
	env := os.Environ()
	o, err := ParseOptions(settings, os.LookupEnv)
	if err != nil {
		return err
	}
	name := instanceName(o, command)
	if err := checkName(name); err != nil {
		return &Error{ExitUsage, fmt.Errorf("--name %q: %w", name, err)}
	}
	argv := append([]string{foregroundRole, ownProgram(env), name, strconv.Itoa(int(o.StopSignal)), conventionList(o.Import)},
		launcherArguments(withSIGPIPE(settings, env), command)...)
	// Executed anew, so that what stays holds no more memory than a keeper.
	return os.NewSyscallError("execve", unix.Exec(self, argv, env))
}

// ownProgram is the file by which we were called, not what it leads to today.
func ownProgram(env []string) string {
	path, err := lookPath(os.Args[0], env)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil || !sameFile(path, self) {
		return self
	}
	return path
}

// sameFile tells that a name is ours and not one that somebody made up for us.
func sameFile(a, b string) bool {
	st, err := os.Stat(a)
	ours, oerr := os.Stat(b)
	return err == nil && oerr == nil && os.SameFile(st, ours)
}

// runForeground is the whole life of a foreground process; it returns its exit code.
func runForeground(args []string) int {
	os.WriteFile("/proc/self/comm", []byte("flipexec"), 0) // best effort: or ps(1) calls it "exe"
	collectOnRequest()
	f := &foreground{env: os.Environ(), program: args[1], terminal: hasTerminal()}
	stop, err := strconv.Atoi(args[3])
	if err == nil {
		f.stop = unix.Signal(stop)
		err = f.begin(args[2], args[4], args[5:])
	}
	if err != nil {
		say("start: %v", err)
		f.clear()
		return ExitCode(err)
	}
	for !f.left {
		f.await()
	}
	f.clear()
	f.dieLike(f.status)
	return exitCode(f.status)
}

// begin makes the foreground process a manager, and starts generation 1.
func (f *foreground) begin(name, importText string, args []string) (err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	conventions, err := activation.ParseImport(importText)
	if err != nil {
		return err
	}
	if f.inherited, err = takeSockets(conventions); err != nil {
		return err
	}
	f.env = withoutConventions(f.env, conventions)
	if err := f.openSockets(name); err != nil {
		return err
	}
	if address := value(f.env, "NOTIFY_SOCKET"); address != "" {
		if f.outer, err = notify.Dial(address); err != nil {
			return fmt.Errorf("NOTIFY_SOCKET: %w", err)
		}
	}
	if f.signals, err = catchSignals(); err != nil {
		return err
	}
	err = f.startLauncher(args, nil)
	for _, s := range f.inherited { // the server's from now on
		s.Close()
	}
	f.inherited = nil
	return err
}

// openSockets binds what makes this instance the only one of its name, and the notify
// socket.
func (f *foreground) openSockets(name string) (err error) {
	if f.dir = runtimeDirectory(f.env); f.dir == "" {
		if f.dir, err = makeInstanceDir(instanceRoots(f.env), name); err != nil {
			return err
		}
	}
	spec, err := foregroundSpec(f.dir)
	if err != nil {
		return fmt.Errorf("directory %s: %w", f.dir, err)
	}
	if f.control, err = bindOwn(spec); err != nil {
		if c, derr := dial(spec.Address); derr == nil {
			c.close()
			return fmt.Errorf("%w; hint: --name, if this is another instance", err)
		}
		return err
	}
	// Generations of one that was killed may still drain, and use the same names.
	f.run = filepath.Join(f.dir, strconv.Itoa(os.Getpid()))
	if err := makeOwn(f.run, 0o711); err != nil {
		return err
	}
	path := filepath.Join(f.run, managerName)
	removeKind(path, unix.S_IFSOCK) // of a process with our number, a container's
	f.socket, err = notify.Listen(path)
	return err
}

// clear removes what is ours.
func (f *foreground) clear() {
	if f.control.Spec == "" {
		return
	}
	if f.socket != nil {
		removeKind(f.socket.Path(), unix.S_IFSOCK)
	}
	unix.Rmdir(f.run) // best effort: a keeper may have been killed and left something
	f.control.Unlink()
	if runtimeDirectory(f.env) == "" {
		unix.Rmdir(f.dir) // best effort, as above
	}
}

// sources are listed in the order in which they are served.
func (f *foreground) sources() (s []source) {
	add := func(fd int, ready func()) { s = append(s, source{fd: fd, ready: ready}) }
	if !f.heard {
		add(f.socket.FD(), f.takeTurn)
	}
	add(f.signals, f.readSignals)
	if f.launch != nil && f.launch.channel != nil {
		add(f.launch.channel.fd, f.readLaunch)
	}
	if f.main.pid != 0 && !f.exited {
		add(f.main.fd, f.mainExited)
	}
	if f.launch != nil && f.launch.requester != nil {
		add(f.launch.requester.fd, f.loseRequester)
	}
	for _, p := range f.peers {
		add(p.fd, func() { f.readPeer(p) })
	}
	if f.deafUntil.IsZero() {
		add(f.control.FD, func() { f.acceptPeer(f.control.FD) })
	}
	if f.heard {
		add(f.socket.FD(), f.takeTurn)
	}
	return s
}

// await blocks for one event and handles it.
func (f *foreground) await() {
	ready, err := pollFirst(f.sources(), []time.Time{f.deadline, f.deafUntil})
	if err != nil {
		say("%v", err)
		f.left, f.status = true, exited(ExitFailed) // and the keepers see us go
		return
	}
	f.heard = false
	if len(ready) > 0 {
		ready[0].ready()
	}
	now := time.Now()
	if passed(f.deafUntil, now) {
		f.deafUntil = time.Time{}
	}
	if passed(f.deadline, now) {
		f.deadline = time.Time{}
		f.endRest()
	}
}
