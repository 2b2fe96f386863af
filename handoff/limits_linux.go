package handoff

import (
	"fmt"
	"os"

	"github.com/flipexec/flipexec/activation"
)

// checkNamesFit makes sure that LISTEN_FDNAMES does not become longer than execve(2)
// takes, which would not say which variable it was: MAX_ARG_STRLEN, with the closing NUL.
func checkNamesFit(names []string) error {
	size, most := len(activation.EnvNames+"="), 32*os.Getpagesize()
	for _, name := range names {
		size += len(name) + 1 // a colon, or the NUL
	}
	if size <= most {
		return nil
	}
	return fmt.Errorf("%s would have %d bytes for %d sockets, and the kernel takes %d; hint: shorter names", activation.EnvNames, size, len(names), most)
}
