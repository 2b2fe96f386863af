//go:build faults

package handoff

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const second = time.Second / 5

// faults is where a test asks for a stop at a step, by a file of the step's name.
const faults = "/run/flipexec-faults/"

// reached stops this process until somebody continues it, once for each file. The
// file gets our process ID as its extension, so that the test finds us. The
// signal goes to this very thread: no step after this one is taken by another.
func reached(step string) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if os.Rename(faults+step, fmt.Sprintf("%s%s.%d", faults, step, os.Getpid())) == nil {
		unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
	}
}
