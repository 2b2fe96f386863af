//go:build linux

package rig

import (
	"os"
	"os/signal"
	"syscall"
)

// DefaultSignals has whatever this process starts end by the signals that end a process.
// A test may run under nohup(1), or in the background of a script, and what is ignored
// there would be ignored in everything below.
func DefaultSignals() {
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} { // of others the runtime forgets it
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig) // and execve(2) resets what is caught
		}
	}
}
