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
	if value(l.env, "NOTIFY_SOCKET") == "" {
		return errors.New("no NOTIFY_SOCKET, so nobody would learn that the server is ready; hint: Type=notify in the unit")
	}
	return l.checkManager()
}

// checkReload is row 1 of a reload.
func (l *launcher) checkReload() error {
	switch {
	case value(l.env, "MAINPID") == "":
		return errors.New("not started by the manager; hint: systemctl reload UNIT, with ExecReload=flipexec reload in the unit")
	case value(l.env, "NOTIFY_SOCKET") == "":
		return errors.New("the manager would ignore our messages; hint: NotifyAccess=exec in the unit")
	}
	return l.checkManager()
}

func (l *launcher) checkManager() (err error) {
	pid := os.Getpid()
	if pid == 1 {
		return errors.New("flipexec is process 1 of its PID namespace, so the server could not be the manager's; hint: PrivatePIDs=no in the unit")
	}
	if p := value(l.env, "SYSTEMD_EXEC_PID"); p != "" && p != strconv.Itoa(pid) {
		return fmt.Errorf("the manager started process %s and not flipexec, process %d; hint: call flipexec directly, or with exec from a shell", p, pid)
	}
	address := value(l.env, "NOTIFY_SOCKET")
	if l.manager, err = notify.Dial(address); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	if address[0] != '/' {
		return fmt.Errorf("NOTIFY_SOCKET=%s: an abstract address cannot be passed on to the server", address)
	}
	return nil
}
