//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// done is what a deed has come to, before anybody looks at the unit.
type done struct {
	succeeded bool // systemctl reload
	reached   bool // the step of a fault
	hit       bool // its victim was there
	part      part // of the victim
}

// perform does the deed and returns when systemctl has.
func (s *soak) perform(ctx context.Context, d deed) (done, error) {
	switch d.kind {
	case fault:
		return s.performFault(ctx, d)
	case badServer:
		return s.performBadServer(d)
	case readOnly:
		return s.performReadOnly()
	case storm:
		return s.performStorm()
	case garbage:
		return s.performGarbage(ctx, d)
	}
	return s.performPlain()
}

func (s *soak) performPlain() (done, error) {
	_, err := s.rig.Systemctl("reload", "web")
	return done{succeeded: err == nil}, nil
}

// performBadServer reloads with a drop-in, which is gone when this returns.
func (s *soak) performBadServer(d deed) (result done, err error) {
	if d.environment == "GOHTTP_DIE=1" { // it accepts until then, and may be the main process
		s.traffic.excuse()
	}
	const dropIn = "web.service.d/fault.conf"
	if err := s.rig.WriteUnit(dropIn, "[Service]\nEnvironment="+d.environment+"\n"); err != nil {
		return done{}, err
	}
	if _, err := s.rig.Systemctl("daemon-reload"); err != nil {
		return done{}, err
	}
	if result, err = s.performPlain(); err != nil {
		return result, err
	}
	if err := os.Remove(s.rig.Path("/etc/systemd/system/" + dropIn)); err != nil {
		return result, err
	}
	_, err = s.rig.Systemctl("daemon-reload")
	return result, err
}

// performReadOnly lets nobody change the runtime directory during the reload.
func (s *soak) performReadOnly() (result done, err error) {
	if _, err := s.rig.Run("sh", "-c", "mount --bind /run/web /run/web && mount -o remount,bind,ro /run/web"); err != nil {
		return done{}, err
	}
	defer func() {
		_, umount := s.rig.Run("umount", "-l", "/run/web")
		err = errors.Join(err, umount)
	}()
	return s.performPlain()
}

func (s *soak) performStorm() (done, error) {
	const size = 10
	results := make([]error, size)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() { _, results[i] = s.rig.Systemctl("reload", "web") })
	}
	all.Wait()
	err := errors.Join(results...)
	return done{succeeded: err == nil}, nil
}

// performGarbage talks to the control socket, and keeps the connections open, while
// a reload uses it as well.
func (s *soak) performGarbage(ctx context.Context, d deed) (done, error) {
	for _, message := range d.garbage {
		c, err := s.rig.Dial(ctx, "unixpacket", "/run/web/flipexec.sock")
		if err != nil {
			return done{}, err
		}
		defer c.Close()
		if _, err := c.Write(message); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			return done{}, err // but the keeper may have hung up already
		}
	}
	return s.performPlain()
}

// performFault reloads, stops the process that reaches the step, hits the victim
// and lets both go on.
func (s *soak) performFault(ctx context.Context, d deed) (done, error) {
	before, err := s.look()
	if err != nil {
		return done{}, err
	}
	request := s.rig.Path(filepath.Join(faults, d.step))
	if err := os.WriteFile(request, nil, 0o644); err != nil {
		return done{}, err
	}
	reload := make(chan error, 1)
	go func() {
		_, err := s.rig.Systemctl("reload", "web")
		reload <- err
	}()
	there, reached, err := s.awaitStep(ctx, d.step, reload)
	result := done{reached: reached}
	if err == nil && reached {
		result.part, result.hit, err = s.hit(ctx, d, before, there)
		err = errors.Join(err, there.signal(syscall.SIGCONT))
	}
	result.succeeded = <-reload == nil
	return result, err
}

// awaitStep waits for a process that has stopped at the step, or else for the end of
// the reload. What the reload gave is put back.
func (s *soak) awaitStep(ctx context.Context, step string, reload chan error) (there process, reached bool, err error) {
	request := s.rig.Path(filepath.Join(faults, step))
	pid := ""
	err = await(ctx, fmt.Sprintf("a process at %q, or the end of the reload", step), time.Minute, func() bool {
		if files, _ := filepath.Glob(request + ".*"); len(files) == 1 { // the pattern is well-formed
			pid = strings.TrimPrefix(files[0], request+".")
			return true
		}
		if len(reload) == 0 {
			return false
		}
		return os.Remove(request) == nil // or else it has been reached at the last moment
	})
	if err != nil || pid == "" {
		return process{}, false, err
	}
	if err := os.Remove(request + "." + pid); err != nil {
		return process{}, false, err
	}
	// A launcher at its last step may have gone before the signal to it arrived.
	err = await(ctx, "process "+pid+" stops", 5*time.Second, func() bool {
		there, reached = find(s.processes(), func(p process) bool { return strconv.Itoa(p.pid) == pid })
		return !reached || there.stopped()
	})
	return there, reached, err
}
