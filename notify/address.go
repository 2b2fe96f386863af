package notify

import (
	"errors"
	"fmt"
	"strings"
)

// maxPath is the longest path or abstract name in bytes: sun_path of unix(7)
// has room for 108, one of which is the NUL at the end of a path.
const maxPath = 107

// checkAddress says why a value of NOTIFY_SOCKET cannot be connected to.
func checkAddress(address string) error {
	if strings.HasPrefix(address, "@") && len(address) > 1 {
		return checkName(address)
	}
	return checkPath(address)
}

func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") {
		return errors.New("neither an absolute path nor an abstract name")
	}
	return checkName(path)
}

func checkName(name string) error {
	if len(name) > maxPath {
		return fmt.Errorf("%d bytes, a socket address holds %d", len(name), maxPath)
	}
	if strings.Contains(name, "\x00") {
		return errors.New("NUL inside")
	}
	return nil
}
