package activation

import "golang.org/x/sys/unix"

// MakeRoom makes the socket of spec, and room for it beside one that is to go, until
// done is called.
func MakeRoom(spec Spec, old Socket) (s Socket, done func(), err error) {
	s = Socket{Spec: spec.String()}
	var sa unix.Sockaddr
	if s.FD, sa, err = spec.open(); err != nil {
		return s, nil, err
	}
	r, err := spec.makeRoom(s, sa, leavingSockets{old.port(): {old}})
	return s, r.close, err
}

// BindIn binds it there.
func BindIn(spec Spec, s Socket) error {
	sa, err := spec.sockaddr()
	if err != nil {
		return err
	}
	if err := bindAddress(spec, s.FD, sa); err != nil {
		return err
	}
	return unix.Listen(s.FD, 1)
}
