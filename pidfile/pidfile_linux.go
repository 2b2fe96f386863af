package pidfile

import (
	"errors"
	"io/fs"
	"path/filepath"
)

func check(path string) error {
	d, name, err := open(path)
	if err == nil {
		defer d.close()
		err = d.writable()
	}
	if err == nil {
		_, err = d.look(name)
	}
	return err
}

func read(path string) (int, error) {
	d, name, err := open(path)
	if err != nil {
		return 0, err
	}
	defer d.close()
	b, _, err := d.read(name, maxLine)
	if err != nil {
		return 0, err
	}
	return parse(b)
}

func remove(path string, pid int) error {
	d, name, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.close()
	b, _, err := d.read(name, maxLine)
	if notOurs(err) {
		return nil
	}
	if err == nil {
		if got, bad := parse(b); bad == nil && got == pid {
			err = d.remove(name)
		}
	}
	return err
}

// notOurs reports whether what could not be read is missing, or something that
// Write never made.
func notOurs(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotRegular)
}

// open returns the directory that holds path, and path's name in it.
func open(path string) (dir, string, error) {
	where, name := filepath.Split(path)
	switch name {
	case "", ".", "..":
		return dir{}, "", errors.New("not a file name")
	}
	if where == "" {
		where = "." // what Split leaves empty
	}
	d, err := openDir(where)
	return d, name, err
}
