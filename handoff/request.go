package handoff

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// reportVariable is the descriptor on which a launcher tells the foreground process
// that started it how the handoff goes.
const reportVariable = "FLIPEXEC_REPORT"

// openReporter finds that descriptor, nil in a launcher of somebody else's. What only
// the process itself can know was left empty in its environment, and is filled in.
func openReporter() *channel {
	fd, err := strconv.Atoi(os.Getenv(reportVariable))
	if err != nil || fd < 3 {
		return nil
	}
	unix.CloseOnExec(fd)
	for _, name := range ownPIDs {
		if v, ok := os.LookupEnv(name); ok && v == "" {
			os.Setenv(name, strconv.Itoa(os.Getpid()))
		}
	}
	c, err := newChannel(fd)
	if err != nil {
		return nil
	}
	return c
}

// report tells whoever waits for the handoff how it goes.
func (l *launcher) report(format string, args ...any) {
	l.reportMessage(msgProgress, fmt.Sprintf(format, args...))
}

// reportEnd tells why it failed. The exit status says the rest.
func (l *launcher) reportEnd(err error) {
	if err != nil {
		l.reportMessage(msgResult, err.Error())
	}
}

// reportServer tells of a server that starts, and which process that is.
func (l *launcher) reportServer() {
	m := message{kind: msgProgress}
	m.add("text", fmt.Sprintf("generation %d starting pid=%d", l.Generation, l.Server.pid))
	m.add("server", strconv.Itoa(l.Server.pid))
	l.sendReport(m)
}

func (l *launcher) reportMessage(kind, text string) {
	m := message{kind: kind}
	m.add("text", text)
	l.sendReport(m)
}

func (l *launcher) sendReport(m message) {
	if l.reporter == nil {
		return
	}
	l.reporter.send(m) // best effort: the handoff does not depend on it
}

// askForeground has a foreground process do the handoff, and prints how it goes unless
// the manager asks, whose journal has the same from others.
func askForeground(c *channel, settings []Setting, command []string, asManager bool) error {
	request := message{kind: msgHandoff}
	spoken.appendTo(&request)
	request.add("manager", strconv.FormatBool(asManager))
	for _, arg := range launcherArguments(settings, command) {
		request.add("argument", arg)
	}
	if err := c.send(request); err != nil {
		return fmt.Errorf("foreground process: %w", err)
	}
	for {
		c.awaitMessage()
		m, err := c.receive()
		if err != nil {
			return fmt.Errorf("foreground process: it left without an answer: %w", err)
		}
		m.close()
		switch m.kind {
		case msgRefused:
			return refusal(m)
		case msgProgress:
			if !asManager {
				say("%s", m.get("text"))
			}
		case msgResult:
			code, err := strconv.ParseUint(m.get("code"), 10, 8)
			if err == nil && code == 0 {
				return nil
			}
			return &Error{max(int(code), ExitFailed), errors.New(m.get("text"))}
		}
	}
}

// awaitMessage waits as long as it takes: until there is a message, or a hang-up.
func (c *channel) awaitMessage() {
	fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
	ignoringEINTR(func() error {
		_, err := unix.Poll(fds, -1)
		return err
	})
}

// launcherArguments is the rest of a command line for a launcher. Who stays in front
// under which name is not its business.
func launcherArguments(settings []Setting, command []string) (args []string) {
	for _, s := range settings {
		if s.Name != "foreground" && s.Name != "name" {
			args = append(args, "--"+s.Name+"="+s.Value)
		}
	}
	if len(command) > 0 {
		args = append(append(args, "--"), command...)
	}
	return args
}
