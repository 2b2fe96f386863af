//go:build !linux

package pidfile

import "errors"

func check(string) error { return errors.ErrUnsupported }

func read(string) (int, error) { return 0, errors.ErrUnsupported }

func write(string, []byte) (*File, error) { return nil, errors.ErrUnsupported }

func (f *File) restore() error { return errors.ErrUnsupported }

func remove(string, int) error { return errors.ErrUnsupported }
