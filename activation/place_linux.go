package activation

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func lookAt(spec Spec) (p Place, ok bool) {
	p.spec = spec
	p.dev, p.ino = p.now()
	return p, spec.path() != ""
}

// now is the file at the path.
func (p Place) now() (dev, ino uint64) {
	var st unix.Stat_t
	if unix.Lstat(p.spec.path(), &st) != nil {
		return 0, 0
	}
	return uint64(st.Dev), st.Ino
}

func (p Place) tidy() error {
	dev, ino := p.now()
	if ino == 0 || dev == p.dev && ino == p.ino {
		return nil
	}
	remove := removeStale
	if p.spec.Network == "fifo" {
		remove = removeFIFO
	}
	if err := remove(p.spec.path(), networks[p.spec.Network]); err != nil && err != errInUse {
		return fmt.Errorf("unlink %s: %w", p.spec, err)
	}
	return nil
}

// removeFIFO unlinks the FIFO at path if nobody reads it any more.
func removeFIFO(path string, _ int) error {
	switch err := checkFIFO(path); err {
	case nil:
		return unix.Unlink(path)
	case errHasReader:
		return errInUse
	default:
		return err
	}
}
