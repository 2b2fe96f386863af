package handoff

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// foregroundName is the file in which a foreground process takes requests.
const foregroundName = "foreground.sock"

// An instance is what runs outside of systemd, or in a unit that does not follow the
// main PID: it has a directory for its sockets, which tells it from others.
type instance struct {
	name, dir  string
	foreground *channel // to its foreground process, nil if it is detached; the caller closes it
}

// instanceName is what --name says, or the command's own name.
func instanceName(o Options, command []string) string {
	return cmp.Or(o.Name, filepath.Base(command[0]))
}

// nameIn is what --name says, or FLIPEXEC_NAME.
func nameIn(settings []Setting) string {
	name := os.Getenv(envName("name"))
	for _, s := range settings {
		if s.Name == "name" {
			name = s.Value
		}
	}
	return name
}

// checkName wants what can be a directory, and leaves room for sockets in it.
func checkName(name string) error {
	if name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || len(name) > 40 {
		return errors.New("is no name; hint: up to 40 bytes without /")
	}
	return nil
}

// instanceRoots are where directories of instances are, the best one first: not
// every container can write to /run, and not every login has XDG_RUNTIME_DIR.
func instanceRoots(env []string) (roots []string) {
	if unix.Geteuid() == 0 {
		roots = append(roots, "/run/flipexec")
	} else if dir := value(env, "XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		roots = append(roots, filepath.Join(dir, "flipexec"))
	}
	own := "flipexec-" + strconv.Itoa(unix.Geteuid())
	roots = append(roots, filepath.Join("/tmp", own))
	if dir := filepath.Join(os.TempDir(), own); !slices.Contains(roots, dir) {
		roots = append(roots, dir)
	}
	return roots
}

// searchedRoots are where a reload looks: sudo(8) and cron(8) leave out what a login
// has in its environment.
func searchedRoots(env []string) []string {
	roots := instanceRoots(env)
	if dir := fmt.Sprintf("/run/user/%d/flipexec", unix.Geteuid()); !slices.Contains(roots, dir) {
		roots = append(roots, dir)
	}
	return roots
}

// makeInstanceDir makes the directory for an instance, or finds it.
func makeInstanceDir(roots []string, name string) (string, error) {
	var failures []error
	for _, root := range roots {
		dir := filepath.Join(root, name)
		err := makeOwn(root, 0o755)
		if err == nil {
			err = makeOwn(dir, 0o711) // a server may have changed its user before it speaks
		}
		if err == nil {
			return dir, nil
		}
		failures = append(failures, err)
	}
	return "", fmt.Errorf("no place for our sockets: %w; hint: %s=/path", errors.Join(failures...), directoryVariable)
}

// makeOwn makes a directory, or checks that it is ours alone to write to.
func makeOwn(path string, mode uint32) error {
	err := unix.Mkdir(path, mode)
	if err == nil {
		err = unix.Chmod(path, mode) // the umask may have taken something away
	}
	if err != nil && err != unix.EEXIST {
		return &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	return checkOwn(path)
}

// checkOwn refuses what somebody else put there, or can change: /tmp is everybody's.
func checkOwn(path string) error {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		err = unix.ENOTDIR
	case int(st.Uid) != unix.Geteuid():
		err = fmt.Errorf("belongs to user %d", st.Uid)
	case st.Mode&0o022 != 0:
		err = errors.New("others can write to it")
	}
	if err != nil {
		return &os.PathError{Op: "directory", Path: path, Err: err}
	}
	return nil
}

// removeInstanceDir removes the directory of an instance of which nothing is left in
// it. Others, of whatever is still there, stay.
func removeInstanceDir(env, roots []string) {
	if dir := value(env, directoryVariable); slices.Contains(roots, filepath.Dir(dir)) {
		unix.Rmdir(dir) // best effort
	}
}

// clearDeserted removes what a foreground process that was killed has left, once nobody
// of its run is there any more. Another one may have its name by now.
func clearDeserted(env []string, run string) {
	removeKind(filepath.Join(run, managerName), unix.S_IFSOCK)
	if unix.Rmdir(run) != nil {
		return // another generation drains
	}
	dir := filepath.Dir(run)
	if spec, err := foregroundSpec(dir); err == nil {
		activation.RemoveStale(spec) // best effort: it may be somebody's
	}
	removeInstanceDir([]string{directoryVariable + "=" + dir}, instanceRoots(env))
}

// foregroundSpec is where requests for a handoff come in.
func foregroundSpec(dir string) (activation.Spec, error) {
	return activation.ParseSpec("unixpacket:" + filepath.Join(dir, foregroundName))
}

// findInstance finds what a reload is about. It is nothing, without an error, when the
// manager that started us has no foreground process: then we are its launcher.
func findInstance(env, roots []string, name string) (instance, error) {
	main := value(env, "MAINPID")
	if dir := runtimeDirectory(env); dir != "" && (name == "" || has(env, directoryVariable)) {
		in, _ := openInstance(dir)
		if in.foreground == nil && main != "" {
			in = instance{}
		}
		return in, nil
	}
	found := allInstances(roots, name)
	if main != "" { // of the manager's unit: not just any
		found = keepMain(found, main)
		if len(found) == 0 {
			return instance{}, nil
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0 && name != "":
		return instance{}, notFound(fmt.Sprintf("nothing called %q", name))
	case len(found) == 0:
		return instance{}, nil // the launcher's own check says so
	}
	var names []string
	for _, in := range found {
		names = append(names, in.name)
		in.close()
	}
	return instance{}, &Error{ExitUsage, fmt.Errorf("several are running: %s; hint: --name NAME", strings.Join(names, ", "))}
}

// notFound says how to reach what systemd runs.
func notFound(what string) error {
	return &Error{ExitNotRunning, fmt.Errorf("%s is running; hint: systemctl reload %s", what, ownService())}
}

// ownService is the unit that we are in, or what stands for it in a hint.
func ownService() string {
	if unit := unitName(); isService(unit) {
		return unit
	}
	return "UNIT"
}

// isService tells a unit that can be reloaded from a login's scope and a user's
// manager.
func isService(unit string) bool {
	return strings.HasSuffix(unit, ".service") && !strings.HasPrefix(unit, "user@")
}

// allInstances are those of our user that run, with a name if one is given.
func allInstances(roots []string, name string) (found []instance) {
	for _, root := range roots {
		if checkOwn(root) != nil {
			continue
		}
		entries, err := os.ReadDir(root)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if name != "" && e.Name() != name {
				continue
			}
			if in, ok := openInstance(filepath.Join(root, e.Name())); ok {
				found = append(found, in)
			}
		}
	}
	return found
}

// openInstance reports whether something runs in the directory.
func openInstance(dir string) (in instance, ok bool) {
	in = instance{name: filepath.Base(dir), dir: dir}
	if c, err := dial(filepath.Join(dir, foregroundName)); err == nil {
		in.foreground = c
		return in, true
	}
	c, err := dial(filepath.Join(dir, controlName))
	if err != nil {
		return in, false
	}
	c.close()
	return in, true
}

// keepMain keeps the one whose foreground process is the manager's main process.
func keepMain(found []instance, main string) (kept []instance) {
	for _, in := range found {
		if in.foreground != nil && strconv.Itoa(in.foreground.peer()) == main {
			kept = append(kept, in)
		} else {
			in.close()
		}
	}
	return kept
}

func (in instance) close() {
	if in.foreground != nil {
		in.foreground.close()
	}
}

// peer is the process that listens, or connected, as the kernel vouches for it; 0 if
// it is none that we can see.
func (c *channel) peer() int {
	cred, err := unix.GetsockoptUcred(c.fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0
	}
	return int(cred.Pid)
}
