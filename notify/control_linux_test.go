package notify

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// control is the control data that the kernel adds to a message of that sender
// with these descriptors.
func control(d Datagram) []byte {
	b := unix.UnixCredentials(&unix.Ucred{Pid: int32(d.PID), Uid: d.UID})
	if len(d.FDs) > 0 {
		b = append(b, unix.UnixRights(d.FDs...)...)
	}
	return b
}

// rightsAs is control data with some numbers in it, of another type.
func rightsAs(typ uint32, numbers ...int) []byte {
	b := unix.UnixRights(numbers...)
	binary.NativeEndian.PutUint32(b[unix.SizeofCmsghdr-4:], typ)
	return b
}

// FuzzParseControl checks that no control data crashes the parser, and that every
// sender and every descriptor in it is found, whatever stands around them: one that
// is overlooked stays open. Invariant I10.
func FuzzParseControl(f *testing.F) {
	whole := control(Datagram{PID: 42, UID: 1000, FDs: []int{5, 6}})
	f.Add(whole, int32(1), uint32(0), uint8(3))
	f.Add(whole[:len(whole)-3], int32(0), uint32(65534), uint8(0))
	f.Add(bytes.Repeat(whole, 2), int32(-1), uint32(1), uint8(253))
	f.Add(rightsAs(unix.SCM_TIMESTAMP, 1, 2), int32(7), uint32(7), uint8(1))
	f.Add(rightsAs(unix.SCM_CREDENTIALS, 42), int32(0), uint32(0), uint8(0))
	f.Add([]byte{}, int32(0), uint32(0), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, pid int32, uid uint32, n uint8) {
		sent := Datagram{PID: int(pid), UID: uid}
		for i := range int(n) {
			sent.FDs = append(sent.FDs, 1000+i)
		}
		got, err := parseControl(append(rightsAs(unix.SCM_TIMESTAMP, 1, 2), control(sent)...))
		if err != nil || !same(got, sent) {
			t.Fatalf("%+v came back as %+v, %v", sent, got, err)
		}
		d, err := parseControl(b)
		if err != nil {
			return
		}
		again, err := parseControl(control(d))
		if err != nil || !same(again, d) {
			t.Fatalf("%x is %+v, and then %+v, %v", b, d, again, err)
		}
	})
}

func same(a, b Datagram) bool { return a.PID == b.PID && a.UID == b.UID && slices.Equal(a.FDs, b.FDs) }
