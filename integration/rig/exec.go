//go:build linux

package rig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// commandTimeout ends what Run and its relatives started.
const commandTimeout = time.Minute

// A Cmd is an exec.Cmd that runs in a rig.
type Cmd struct {
	*exec.Cmd
	rig *Rig
}

// Command returns a command that runs in the rig as root. The program is looked up in the rig. When ctx is
// done the program is killed, but not what it has started.
func (r *Rig) Command(ctx context.Context, argv ...string) *Cmd {
	cmd := exec.CommandContext(ctx, "/usr/bin/env", append([]string{"--"}, argv...)...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
		"HOME=/root", "USER=root", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"}
	cmd.WaitDelay = 5 * time.Second // for who still has the standard output
	// A process group spans pid namespaces: without a session of its own, "kill -9 0" would kill the test.
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(r.cgroup.Fd()), Setsid: true}
	return &Cmd{cmd, r}
}

// UserCommand is Command as another user of the rig, with the environment that its systemd --user expects.
// Every rig has the user "rig", 1000, whose manager "systemctl start user@1000" starts.
func (r *Rig) UserCommand(ctx context.Context, user string, uid int, argv ...string) *Cmd {
	id := strconv.Itoa(uid)
	cmd := r.Command(ctx, append([]string{"setpriv", "--reuid=" + id, "--regid=" + id, "--init-groups", "--"}, argv...)...)
	cmd.Env = append(cmd.Env, "HOME=/home/"+user, "USER="+user, "LOGNAME="+user, "XDG_RUNTIME_DIR=/run/user/"+id)
	return cmd
}

// Start is exec.Cmd's, in the rig.
func (c *Cmd) Start() error { return c.rig.inside(c.Cmd.Start) }

// Run is exec.Cmd's, in the rig.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output is exec.Cmd's, in the rig, but leaves standard error alone.
func (c *Cmd) Output() ([]byte, error) {
	var b bytes.Buffer
	c.Stdout = &b
	err := c.Run()
	return b.Bytes(), err
}

// CombinedOutput is exec.Cmd's, in the rig.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err := c.Run()
	return b.Bytes(), err
}

func combined(c *Cmd, argv []string) (string, error) {
	b, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("run %s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(b))
	}
	return string(b), err
}

// Run runs argv as root, for a minute at most, and returns what it wrote to standard output and error, which
// the error contains too.
func (r *Rig) Run(argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	return combined(r.Command(ctx, argv...), argv)
}

// RunAs is Run as another user; see UserCommand.
func (r *Rig) RunAs(user string, uid int, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	return combined(r.UserCommand(ctx, user, uid, argv...), argv)
}

// Systemctl runs systemctl with args.
func (r *Rig) Systemctl(args ...string) (string, error) {
	return r.Run(append([]string{"systemctl", "--no-pager"}, args...)...)
}

// Show returns properties of a unit. If systemctl fails, there are none.
func (r *Rig) Show(unit string, properties ...string) map[string]string {
	out, err := r.Systemctl("show", unit, "-p", strings.Join(properties, ","))
	values := map[string]string{}
	if err != nil {
		return values
	}
	for line := range strings.Lines(out) {
		if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			values[k] = v
		}
	}
	return values
}

// Journal returns the messages of a unit so far, one a line; or why it cannot.
func (r *Rig) Journal(unit string) string {
	if _, err := r.Run("journalctl", "--sync"); err != nil {
		return err.Error()
	}
	out, err := r.Run("journalctl", "-q", "--no-pager", "-o", "cat", "-u", unit)
	if err != nil {
		return err.Error()
	}
	return out
}

// WriteUnit writes /etc/systemd/system/NAME; a drop-in is NAME.service.d/x.conf. The manager reads a unit
// that it has not loaded yet by itself, a changed one at "systemctl daemon-reload".
func (r *Rig) WriteUnit(name, text string) error {
	path := r.Path("/etc/systemd/system/" + name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
