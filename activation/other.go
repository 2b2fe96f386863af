//go:build !linux

package activation

import (
	"errors"
	"fmt"
	"os"
)

func lookAt(Spec) (Place, bool) { return Place{}, false }

func (p Place) tidy() error { return errors.ErrUnsupported }

func newSpare(Socket) (Spare, error) { return Spare{}, errors.ErrUnsupported }

func (p Spare) watch(int) (int, error) { return -1, errors.ErrUnsupported }

func (p Spare) putBack() (bool, error) { return false, errors.ErrUnsupported }

func bind(Spec, leavingSockets) (Socket, error) { return Socket{}, errors.ErrUnsupported }

func inherited(func(string) (string, bool)) ([]Socket, error) {
	return nil, fmt.Errorf("inherited sockets: %w", errors.ErrUnsupported)
}

func pidfdid(pidfd int) (uint64, error) {
	return 0, fmt.Errorf("pidfd %d: %w", pidfd, errors.ErrUnsupported)
}

const protocolUDPLite = 136 // IPPROTO_UDPLITE, to no effect

var options []option

func (o *option) put(Socket, value) error { return errors.ErrUnsupported }

func (o *option) now(Socket) (value, error) { return value{}, errors.ErrUnsupported }

func (s Spec) compare(Socket) (Changes, *option, error) { return nil, nil, errors.ErrUnsupported }

// Nothing inherited is the same socket, so that Gather comes to Bind's error.

func (s Spec) sameKind(int) bool { return false }

func (s Spec) sameAddress(int) (bool, error) { return false, errors.ErrUnsupported }

func (s Spec) addressKey() string { return "" }

func (s Socket) addressKey() string { return "" }

func foreseeRoom(Spec, leavingSockets) Changes { return nil }

func (s Socket) port() int { return 0 }

func (s Socket) hide() error { return errors.ErrUnsupported }

func (s Socket) show() error { return errors.ErrUnsupported }

func (s Socket) waiting() bool { return false }

func (s Socket) lostPath() bool { return false }

func (s Socket) storeName() string { return "" }

func (s Socket) restore([]Spec, []bool) (Socket, bool) { return s, false }

func (s Socket) checkListens() error { return errors.ErrUnsupported }

func (s Socket) checkDatagram() error { return errors.ErrUnsupported }

func (s Socket) claim() error { return errors.ErrUnsupported }

func (s Socket) bound() (bound, bool) { return bound{}, false }

func (s Socket) file() (*os.File, error) { return nil, errors.ErrUnsupported }

// These three cannot say that they are unsupported, and have nothing to do: no
// Socket is ever made here.

func (s Socket) close() {}

func (s Socket) unlink() {}

func removeSpares([]Socket) {}
