package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// all is every kind of namespace in which a rig differs from the host.
const all = unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS

// A thread that inside has used is never used again, and Go ends it; only the main thread it cannot end.
// That one would stay in the rig, and /proc/self would show the rig from then on. Locking the main
// goroutine to it, which init runs on, keeps every other goroutine away from it.
func init() { runtime.LockOSThread() }

// openNamespaces opens what setns(2) needs to enter the rig and to come back, and the cgroup of commands.
func (r *Rig) openNamespaces(cgroup string) error {
	fd, err := unix.PidfdOpen(r.pid, 0)
	if err != nil {
		return fmt.Errorf("pidfd_open %d: %w", r.pid, err)
	}
	r.pidfd = os.NewFile(uintptr(fd), "pidfd")
	// Not /proc/self: another goroutine may have taken that thread into another rig for a moment.
	if r.hostNet, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	dir := filepath.Join(cgroup, "rig-exec")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	r.cgroup, err = os.Open(dir)
	return err
}

// setns moves the calling thread into the namespaces of the given kinds; f is a pidfd or one namespace.
func setns(f *os.File, kinds int) error {
	for {
		err := unix.Setns(int(f.Fd()), kinds)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return fmt.Errorf("setns %s: %w", f.Name(), err)
		}
	}
}

// inside runs f on a thread in all of the rig's namespaces; of the pid namespace only what f starts is a
// member. The thread ends with f.
func (r *Rig) inside(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: that is what ends the thread
		result <- func() error {
			// Threads share root and working directory, which a mount namespace changes: not this one any more.
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			if err := setns(r.pidfd, all); err != nil {
				return err
			}
			return f()
		}()
	}()
	return <-result
}

// inNet runs f with this goroutine's thread in the rig's network namespace. f must do its work itself:
// another goroutine would do it in the host's.
func (r *Rig) inNet(f func() error) error {
	runtime.LockOSThread()
	if err := setns(r.pidfd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	ferr := f()
	if err := setns(r.hostNet, unix.CLONE_NEWNET); err != nil {
		return err // still locked, so that the thread ends with the goroutine
	}
	runtime.UnlockOSThread()
	return ferr
}

// script returns a command for an embedded bash script. The caller closes its ExtraFiles[0], the text.
func script(name string, text []byte, args ...string) (*exec.Cmd, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(text); err != nil {
		f.Close()
		return nil, err
	}
	cmd := exec.Command("bash", append([]string{"/proc/self/fd/3"}, args...)...)
	cmd.Env = append(os.Environ(), "FLIPEXEC_RIG_ROOTS="+roots())
	cmd.ExtraFiles = []*os.File{f}
	return cmd, nil
}

// flock waits for the exclusive lock on f, which f's end of life releases.
func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return fmt.Errorf("flock %s: %w", f.Name(), err)
		}
	}
}
