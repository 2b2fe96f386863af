package handoff

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// TestLongestNamesAreThoseOfTheKernel: one byte more than what is taken here, and
// execve(2) fails.
func TestLongestNamesAreThoseOfTheKernel(t *testing.T) {
	names := slices.Repeat([]string{strings.Repeat("n", 99)}, 32*os.Getpagesize()/100)
	for ; checkNamesFit(names) == nil; names[0] += "n" {
		if len(names[0]) > 1000 {
			t.Fatal("any length fits")
		}
	}
	run := func(names []string) error {
		cmd := exec.Command("/bin/true")
		cmd.Env = []string{activation.EnvNames + "=" + strings.Join(names, ":")}
		return cmd.Run()
	}
	checkError(t, "too long", checkNamesFit(names), "LISTEN_FDNAMES would have 131073 bytes for 1310 sockets, and the kernel takes 131072; hint: shorter names")
	if err := run(names); !errors.Is(err, unix.E2BIG) {
		t.Errorf("too long: the kernel says %v", err)
	}
	names[0] = names[0][1:]
	if err := run(names); err != nil {
		t.Errorf("longest: %v", err)
	}
}

// TestNamesThatDoNotFitAreAUsageError: before a socket is made.
func TestNamesThatDoNotFitAreAUsageError(t *testing.T) {
	var settings []Setting
	for i := range 10_000 {
		settings = append(settings, Setting{"listen", fmt.Sprintf("name-%08d=tcp::%d", i, i)})
	}
	_, err := ParseOptions(settings, func(string) (string, bool) { return "", false })
	checkError(t, "names of 13 bytes", err, "--listen: LISTEN_FDNAMES would have 140015 bytes for 10000 sockets")
	if ExitCode(err) != ExitUsage {
		t.Errorf("exit code: got %d, want %d", ExitCode(err), ExitUsage)
	}
}

// TestNamesThatDoNotFitUndoTheSockets: those of the manager count as well.
func TestNamesThatDoNotFitUndoTheSockets(t *testing.T) {
	checkFDs(t)
	inherited := []activation.Socket{{FD: 0, Name: strings.Repeat("n", 32*os.Getpagesize())}}
	spec, err := activation.ParseSpec("tcp:127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, err = gatherSockets([]activation.Spec{spec}, inherited, false)
	checkError(t, "names", err, "for 2 sockets")
}
