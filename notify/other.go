//go:build !linux

package notify

import (
	"errors"
	"time"
)

func connect(string) (int, error) { return -1, errors.ErrUnsupported }

func send(int, []byte, []int, time.Time) error { return errors.ErrUnsupported }

func sendWitnessed(int, []byte, string, []byte, time.Time) (bool, error) {
	return false, errors.ErrUnsupported
}

func pipe() (r, w int, err error) { return -1, -1, errors.ErrUnsupported }

func waitHangup(int, time.Time) error { return errors.ErrUnsupported }

func closeFD(int) error { return errors.ErrUnsupported }

func listen(string) (int, error) { return -1, errors.ErrUnsupported }

func mute(int) error { return errors.ErrUnsupported }

func dontLinger(int) {}

func controlSize() int { return 0 }

func receive(int, []byte, []byte) (n, oobn int, lost bool, err error) {
	return 0, 0, false, errors.ErrUnsupported
}

func parseControl([]byte) (Datagram, error) { return Datagram{}, errors.ErrUnsupported }
