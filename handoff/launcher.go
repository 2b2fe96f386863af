package handoff

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/flipexec/flipexec/activation"
	"github.com/flipexec/flipexec/notify"
	"github.com/flipexec/flipexec/pidfile"
	"golang.org/x/sys/unix"
)

// publishTime bounds the time in which the manager must take a message and
// answer a barrier. systemd does within a millisecond.
const publishTime = 5 * second

// A launcher brings one generation into being and makes it the current one. It is
// the process that the manager started and listens to: the main process at a
// start, the control process at a reload.
type launcher struct {
	env      []string
	settings []Setting // of this command line
	options  Options

	manager     *notify.Sender // nil if it reads the PID file and nothing else
	managerPath string         // NOTIFY_SOCKET, "" for the same reason
	reporter    *channel       // to a foreground process, nil without one
	stdio       [3]int         // for keeper and server

	predecessor *predecessor // the running generation, nil at a start
	inherited   []activation.Socket
	freed       bool               // the manager gives up others just now
	changed     activation.Changes // what these have to take yet
	toStore     []string           // for each of Sockets its name in the manager's store, "" for none
	added       []string           // those that the store has had from us
	requests    []storeRequest     // of the new server, to that store

	estate  // what the new generation gets
	dir     string
	private bool
	cgroup  string // of the generation, "" if it has none of its own

	keeper         process
	keeperChannel  *channel
	main           process // what is published: the server, or what it named with MAINPID=
	status         string  // the server's own STATUS=
	watchdogUSEC   string  // the server's own WATCHDOG_USEC=
	pidFile        *pidfile.File
	probation      bool // the manager's status says so
	keeperReplaced bool // which is done once
}

// Start brings generation 1 into being. When it returns nil the manager follows
// the server and the caller has nothing left to do but to exit; an error means
// that nothing is left of the attempt.
func Start(settings []Setting, command []string) error {
	l := newLauncher(withSIGPIPE(settings, os.Environ()))
	l.estate = estate{
		Generation:  1,
		Command:     command,
		Watchdog:    watchdog(l.env, os.Getpid()),
		Credentials: value(l.env, "CREDENTIALS_DIRECTORY"),
	}
	return l.launch(
		l.readOptions,
		l.checkStart,
		l.askForAccess,
		l.takeInherited,
		l.chooseDirectory,
		l.prepare,
		l.takeStored,
		l.openControl)
}

// Reload brings the next generation into being, with the command of the running
// one if command is empty. Where a foreground process is in charge, it is asked to do
// so. An error means that the running generation serves on, untouched.
func Reload(settings []Setting, command []string) error {
	l := newLauncher(settings)
	if l.reporter == nil {
		in, err := findInstance(l.env, searchedRoots(l.env), nameIn(settings))
		if err != nil {
			return err
		}
		if in.foreground != nil {
			defer in.foreground.close()
			return askForeground(in.foreground, settings, command, value(l.env, "MAINPID") != "")
		}
		if in.dir != "" {
			l.env = append(without(l.env, directoryVariable), directoryVariable+"="+in.dir)
		}
	}
	l.Command = command
	return l.launch(
		l.checkReload,
		l.meetPredecessor,
		l.readOptions,
		l.checkDetached,
		l.prepare)
}

func newLauncher(settings []Setting) *launcher {
	signal.Ignore(unix.SIGPIPE) // or it ends us in the middle, if nobody reads what we say; our children have it anew
	l := &launcher{settings: settings, stdio: [3]int{0, 1, 2}}
	l.reporter = openReporter()
	l.env = os.Environ() // openReporter completes it
	return l
}

// launch runs section 5 of the design: what differs between a start and a reload,
// rows 1 to 4, and then the rest.
func (l *launcher) launch(steps ...func() error) error {
	err := l.run(steps...)
	l.reportEnd(err)
	return err
}

func (l *launcher) run(steps ...func() error) error {
	for _, step := range append(steps, l.gather) {
		if err := step(); err != nil {
			l.giveUp()
			return err
		}
	}
	for _, step := range []func() error{l.startKeeper, l.awaitReady, l.publish, l.awaitDone} {
		if err := step(); err != nil {
			l.giveUp()
			return fmt.Errorf("generation %d: %w", l.Generation, err)
		}
	}
	return nil
}

// askForTime makes sure that our own deadline comes before the manager's
// (row 2), whose SIGKILL would explain nothing.
func (l *launcher) askForTime(d time.Duration, more ...notify.Field) error {
	if l.manager == nil {
		return nil
	}
	m := append(notify.Message{{Key: "EXTEND_TIMEOUT_USEC", Value: strconv.FormatInt(d.Microseconds(), 10)}}, more...)
	return l.manager.Send(m, time.Now().Add(publishTime))
}

// askForAccess lets later control processes speak for the unit, where the unit
// has no NotifyAccess= (systemd 254; before, it is ignored).
func (l *launcher) askForAccess() error {
	return l.askForTime(2*publishTime, notify.Field{Key: "NOTIFYACCESS", Value: "exec"})
}

func (l *launcher) takeInherited() (err error) {
	l.inherited, err = takeSockets(l.options.Import)
	return err
}

// meetPredecessor is rows 3 and 4.
func (l *launcher) meetPredecessor() error {
	closeOnExecAll()
	if err := l.askForTime(2 * publishTime); err != nil {
		return err
	}
	reached("asked for time")
	control, err := connectControl(l.env)
	if err != nil {
		return err
	}
	reached("connected")
	if err := l.askForEstate(control); err != nil {
		control.close()
		return err
	}
	return nil
}

// askForEstate takes the predecessor's estate over if it is given.
func (l *launcher) askForEstate(control *channel) error {
	request := message{kind: msgReload}
	spoken.appendTo(&request)
	if err := control.send(request); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	m, err := control.receive()
	if err != nil {
		return fmt.Errorf("control socket: no answer from the running generation: %w", err)
	}
	defer m.close()
	if m.kind != msgEstate {
		return refusal(m)
	}
	theirs, err := versionsFrom(m)
	if err == nil {
		err = agree(theirs, spoken)
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	e, err := estateFrom(&m)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	reached("estate received")
	p := &predecessor{generation: e.Generation, keeper: control, server: e.Server}
	for _, s := range p.options.finishing() {
		if err := p.options.set(s.Name, m.get(s.Name)); err != nil {
			e.close()
			return fmt.Errorf("control socket: %s %q: %w", s.Name, m.get(s.Name), err)
		}
	}
	l.predecessor = p
	l.succeed(e)
	l.takeStdio(&m)
	return nil
}

// takeStdio gives a detached server what the running one has for its standard
// descriptors. systemd's own choice for this process is as good or better.
func (l *launcher) takeStdio(m *message) {
	for i := range m.fields {
		f := &m.fields[i]
		if fd, err := strconv.Atoi(f.value); f.key == "@stdio" && err == nil && fd >= 0 && fd < len(l.stdio) && !bySystemd(l.env, os.Getpid()) {
			l.stdio[fd] = f.take()
		}
	}
}

// succeed makes the running generation's estate that of the next one.
func (l *launcher) succeed(e estate) {
	l.inherited = e.Sockets
	e.Generation++
	e.Older = append(e.Older, l.predecessor)
	e.Sockets, e.Server = nil, process{}
	e.Settings = inherit(l.settings, e.Settings)
	if len(l.Command) > 0 {
		e.Command = l.Command
	}
	l.settings, l.estate = e.Settings, e
}

// refusal is what a peer said instead of the answer.
func refusal(m message) error {
	if m.get("reason") == "" {
		return fmt.Errorf("control socket: message %q was not expected", m.kind)
	}
	code, err := strconv.ParseUint(m.get("code"), 10, 8)
	if err != nil || code == 0 {
		code = ExitFailed
	}
	return &Error{int(code), errors.New(m.get("reason"))}
}

func (l *launcher) readOptions() (err error) {
	l.Settings = l.settings
	l.options, err = ParseOptions(l.settings, os.LookupEnv)
	return err
}

// prepare finds what is wrong before a socket is bound or a process started.
func (l *launcher) prepare() (err error) {
	if l.options.FDStore && l.reporter != nil { // or it had stayed "no"
		return &Error{ExitUsage, errNoStore}
	}
	if err := l.askForTime(l.options.ReadyTimeout + l.options.Probation + 2*launcherTime); err != nil {
		return err
	}
	if _, err := lookPath(l.Command[0], l.env); err != nil {
		return err
	}
	if l.options.PIDFile != "" {
		if err := pidfile.Check(l.options.PIDFile); err != nil {
			return err
		}
	}
	l.dir, l.private, err = notifyDirectory(l.env)
	return err
}

// chooseDirectory finds a place for the sockets of a server that nobody else gave one.
func (l *launcher) chooseDirectory() error {
	if !l.options.Detach || runtimeDirectory(l.env) != "" || bySystemd(l.env, os.Getpid()) {
		return nil
	}
	dir, err := makeInstanceDir(instanceRoots(l.env), instanceName(l.options, l.Command))
	l.env = append(l.env, directoryVariable+"="+dir)
	return err
}

// openControl makes the control socket, which all later generations inherit.
func (l *launcher) openControl() (err error) {
	l.Control, err = bindControl(l.env)
	return err
}
