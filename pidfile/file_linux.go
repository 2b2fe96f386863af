package pidfile

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

func write(path string, content []byte) (*File, error) {
	d, name, err := open(path)
	if err != nil {
		return nil, err
	}
	defer d.close()
	f := &File{path: path, content: content}
	f.before, err = d.look(name)
	if err == nil {
		err = d.put(name, entry{unix.S_IFREG | 0o644, f.content})
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) restore() error {
	d, name, err := open(f.path)
	if err != nil {
		return err
	}
	defer d.close()
	now, _, err := d.read(name, len(f.content)+1)
	if notOurs(err) || err == nil && !bytes.Equal(now, f.content) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.put(name, f.before)
}

// look returns what name stands for now.
func (d dir) look(name string) (entry, error) {
	mode, err := d.mode(name)
	if err != nil || mode == 0 {
		return entry{}, err
	}
	var b []byte
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		b, mode, err = d.read(name, maxContent+1)
	case unix.S_IFLNK:
		b, err = d.readlink(name)
	default:
		err = errNotRegular
	}
	if err == nil && len(b) > maxContent {
		err = fmt.Errorf("more than %d bytes, not a PID file", maxContent)
	}
	return entry{mode, b}, err
}

// put makes name stand for e: rename(2) replaces in one step what was there.
func (d dir) put(name string, e entry) error {
	if e.mode == 0 {
		return d.remove(name)
	}
	tmp, err := tempName()
	if err != nil {
		return err
	}
	if e.mode&unix.S_IFMT == unix.S_IFLNK {
		err = d.symlink(tmp, string(e.content))
	} else {
		err = d.create(tmp, e)
	}
	if err != nil {
		return err
	}
	if err := d.rename(tmp, name); err != nil {
		return errors.Join(err, d.remove(tmp))
	}
	d.sync() // best effort: the file is there already
	return nil
}
