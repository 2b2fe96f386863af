package handoff

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/flipexec/flipexec/notify"
)

// checkStart is row 1 of a start: the settings of the unit without which a later
// step would fail less clearly.
func (l *launcher) checkStart() error {
	switch {
	case l.options.Detach:
		return nil
	case value(l.env, "NOTIFY_SOCKET") == "":
		return errors.New("no NOTIFY_SOCKET, so nobody would learn that the server is ready; hint: Type=notify in the unit, or --foreground")
	}
	return l.checkManager()
}

// checkReload is row 1 of a reload. Without a manager that listens it depends on the
// running generation whether anybody has to be told: checkDetached.
func (l *launcher) checkReload() error {
	switch {
	case value(l.env, "MAINPID") != "" && value(l.env, "NOTIFY_SOCKET") != "":
		return l.checkManager()
	case value(l.env, "MAINPID") == "" && !has(l.env, directoryVariable):
		return notFound("nothing that was started outside of systemd")
	}
	return nil
}

// checkDetached makes sure that the manager learns of the new server: from us, or
// because it reads the PID file and that is the agreement.
func (l *launcher) checkDetached() error {
	if l.options.Detach {
		l.manager, l.managerPath = nil, ""
		return l.checkUnit()
	}
	if l.manager != nil {
		return nil
	}
	if err := l.checkUnit(); err != nil {
		return err
	}
	if value(l.env, "MAINPID") == "" {
		return fmt.Errorf("not started by the manager; hint: systemctl reload %s", ownService())
	}
	return errors.New("the manager would ignore our messages; hint: NotifyAccess=exec in the unit")
}

// checkUnit refuses to start a server outside of the unit in which the running one is.
func (l *launcher) checkUnit() error {
	theirs := unitCgroup(proc{}.cgroup(l.predecessor.server.pid))
	name := parseUnit(theirs)
	if !isService(name) || theirs == unitCgroup(proc{}.cgroup(os.Getpid())) {
		return nil
	}
	return fmt.Errorf("its server runs in %s, and we do not; hint: systemctl reload %s", name, name)
}

func (l *launcher) checkManager() (err error) {
	pid := os.Getpid()
	if pid == 1 {
		return errors.New("flipexec is process 1 of its PID namespace, so the server could not be the manager's; hint: --foreground in ExecStart=")
	}
	if p := value(l.env, "SYSTEMD_EXEC_PID"); p != "" && p != strconv.Itoa(pid) {
		return fmt.Errorf("the manager started process %s and not flipexec, process %d; hint: call flipexec directly, or with exec from a shell", p, pid)
	}
	l.managerPath = value(l.env, "NOTIFY_SOCKET")
	if l.manager, err = notify.Dial(l.managerPath); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	if l.managerPath[0] != '/' {
		return fmt.Errorf("NOTIFY_SOCKET=%s: an abstract address cannot be passed on to the server; hint: --foreground", l.managerPath)
	}
	return nil
}
