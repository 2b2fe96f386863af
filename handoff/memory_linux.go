package handoff

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

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
