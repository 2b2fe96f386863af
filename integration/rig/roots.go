//go:build linux

package rig

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A Release is a version of systemd and the Debian suite that it comes from.
type Release struct {
	Version int // as it was when this table was written; Rig.Version tells what has been booted
	Suite   string
}

// Versions is what flipexec is tested on, oldest first. The last suite is still moving.
var Versions = []Release{
	{247, "bullseye"},
	{252, "bookworm"},
	{254, "bookworm-backports"},
	{257, "trixie"},
	{262, "forky"},
}

// Version returns the rig's version of systemd, such as 252.
func (r *Rig) Version() (int, error) {
	out, err := r.Systemctl("--version")
	if err != nil {
		return 0, err
	}
	var v int
	if _, err := fmt.Sscanf(out, "systemd %d", &v); err != nil {
		return 0, fmt.Errorf("read version %q: %w", out, err)
	}
	return v, nil
}

//go:embed mkroot
var mkroot []byte

// roots returns the folder with the suites: $FLIPEXEC_RIG_ROOTS, or else flipexec/rootfs in the user's cache.
func roots() string {
	if dir := os.Getenv("FLIPEXEC_RIG_ROOTS"); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = "/var/cache" // no HOME: we are root
	}
	return filepath.Join(cache, "flipexec", "rootfs")
}

// RootDir returns where the root file system of a suite is, once EnsureRoots has been called.
func RootDir(suite string) string { return filepath.Join(roots(), suite) }

// EnsureRoots fetches and unpacks the root file systems of those suites that are not there yet: about 30 MB
// and ten seconds each, once. It blocks while another process does the same. A suite that is there is
// never changed; remove its folder to have it fetched again. "trixie+nodejs" is trixie with another package.
func EnsureRoots(suites ...string) error {
	if len(missing(suites)) == 0 {
		return nil
	}
	if err := os.MkdirAll(roots(), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(roots(), ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := flock(lock); err != nil {
		return err
	}
	todo := missing(suites) // the other process may have fetched them
	if len(todo) == 0 {
		return nil
	}
	cmd, err := script("mkroot", mkroot, todo...)
	if err != nil {
		return err
	}
	defer cmd.ExtraFiles[0].Close()
	cmd.ExtraFiles = append(cmd.ExtraFiles, lock) // mkroot keeps the lock if this process is killed
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("fetch %v: %w: %s", todo, err, bytes.TrimSpace(out))
	}
	return nil
}

func missing(suites []string) []string {
	var todo []string
	for _, s := range suites {
		if _, err := os.Stat(filepath.Join(roots(), s)); errors.Is(err, fs.ErrNotExist) {
			todo = append(todo, s)
		}
	}
	return todo
}
