package handoff

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxGarbage is what a few handoffs leave. The first collection takes twice as much
	// for itself, and keeps it.
	maxGarbage = 512 << 10

	// maxMemory is for a flood of messages, which nobody collects in time.
	maxMemory = 32 << 20
)

// collectOnRequest leaves garbage to releaseHeap. The Go runtime would let it become 4 MB,
// and then collect every two minutes, in a process that lives long. Thousands of sockets
// make several times as much in each step of a handoff, and the collector would take as
// long as the rest of it.
func collectOnRequest() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(maxMemory)
}

// collectAsUsual ends that, with what Go begins with.
func collectAsUsual() {
	debug.SetGCPercent(100)
	debug.SetMemoryLimit(math.MaxInt64)
}

// releaseHeap lets go of what handoffs have left, if it is worth it.
func releaseHeap() {
	var m runtime.MemStats
	if runtime.ReadMemStats(&m); m.NumGC > 0 || m.HeapAlloc > maxGarbage {
		debug.FreeOSMemory()
	}
}

// releaseText lets go of the pages of our own program file, most of which only the
// start needed: two thirds of what an idle keeper would hold. They are clean, so
// that the kernel maps them again from the page cache at the next use,
// madvise(2) MADV_DONTNEED.
func releaseText() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	program, err := os.Readlink(self)
	if err != nil {
		return
	}
	var ranges [][2]uintptr // all of them first: parsing needs pages, too
	for _, line := range strings.Split(string(maps), "\n") {
		if from, to, ok := readOnlyMapping(line, program); ok {
			ranges = append(ranges, [2]uintptr{from, to - from})
		}
	}
	for _, r := range ranges {
		unix.Syscall(unix.SYS_MADVISE, r[0], r[1], unix.MADV_DONTNEED) // best effort
	}
}

// readOnlyMapping parses a line of proc_pid_maps(5) and reports whether it maps
// file without write permission.
func readOnlyMapping(line, file string) (from, to uintptr, ok bool) {
	var mode string
	if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || len(mode) != len("rwxp") {
		return 0, 0, false
	}
	return from, to, from < to && mode[1] != 'w' && strings.HasSuffix(line, " "+file)
}
