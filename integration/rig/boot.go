//go:build linux

package rig

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

//go:embed sdrig
var sdrig []byte

func (c Config) args() []string {
	args := []string{"fg", c.Name, "--root", "host"}
	if c.Root != "" {
		args[3] = c.Root
	}
	for _, b := range c.Bind {
		args = append(args, "--bind", b)
	}
	for _, b := range c.BindRW {
		args = append(args, "--bind-rw", b)
	}
	return args
}

func (r *Rig) boot(cfg Config) error {
	cmd, err := script("sdrig", sdrig, cfg.args()...)
	if err != nil {
		return err
	}
	defer cmd.ExtraFiles[0].Close()
	cmd.Stderr = &r.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a ^C is for the test, whose end is the rig's
	if r.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r.outer = cmd
	line, _ := bufio.NewReader(stdout).ReadString('\n') // an end without the line is as bad as a wrong one
	var cgroup string
	if _, err := fmt.Sscanf(line, "READY %d %s", &r.pid, &cgroup); err != nil {
		return errors.New("no boot") // Close adds what sdrig said
	}
	if err := r.openNamespaces(cgroup); err != nil {
		return err
	}
	for name, text := range cfg.Units {
		if err := r.WriteUnit(name, text); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rig) shutdown() error {
	for _, f := range []*os.File{r.pidfd, r.cgroup, r.hostNet} {
		_ = f.Close() // nil if the boot failed
	}
	if r.outer == nil {
		return nil
	}
	_ = r.stdin.Close()
	if err := r.outer.Wait(); err != nil {
		return fmt.Errorf("close rig %s: %w: %s", r.Name, err, strings.TrimSpace(r.stderr.String()))
	}
	return nil
}
