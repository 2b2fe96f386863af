package activation

import (
	"fmt"
	"strconv"
	"strings"
)

// storeMark begins the name of every socket of ours in the manager's store.
const storeMark = "flipexec="

// An entry is what such a name says.
type entry struct {
	socket   uint64 // inode of the socket itself: no other entry has this name, nor this one another socket
	dev, ino uint64 // of the file at its path, 0 without
	name     string // in LISTEN_FDNAMES of the server
}

// String is the name in the store, cut where systemd would refuse it.
func (e entry) String() string {
	text := fmt.Sprintf("%s%d,%d,%d=%s", storeMark, e.socket, e.dev, e.ino, e.name)
	return text[:min(len(text), maxName)]
}

// parseEntry reads what String wrote, and nothing else.
func parseEntry(text string) (e entry, ok bool) {
	numbers, name, _ := strings.Cut(strings.TrimPrefix(text, storeMark), "=")
	parts := strings.Split(numbers, ",")
	if len(parts) != 3 {
		return e, false
	}
	for i, n := range []*uint64{&e.socket, &e.dev, &e.ino} {
		var err error
		if *n, err = strconv.ParseUint(parts[i], 10, 64); err != nil {
			return e, false
		}
	}
	e.name = name
	return e, e.String() == text
}

// IsStoreName reports whether a name is one that [Socket.StoreName] makes, or looks like
// one to Restore.
func IsStoreName(name string) bool { return strings.HasPrefix(name, storeMark) }

// StoreName is the FDNAME= of sd_notify(3) under which a manager keeps the socket for
// [Restore] at the next start. It is "" for what is not to be kept: sockets that
// Bind has not made, and special files, which can be opened again.
func (s Socket) StoreName() string { return s.storeName() }

// Restore finds the sockets among inherited that the manager has kept under their
// StoreName since an earlier run of the unit. What a spec declares is ours again and as
// the spec says; Stored is its name in the store. The rest is dropped: no spec means it,
// it lost its path, does not listen any more, or cannot become what the spec says. The
// caller has the manager forget it and closes it before anything is bound, to which it
// could be in the way. A path that it may have stays: whoever may speak to the manager
// can give it any name, and must not choose what is unlinked.
//
// What inherited has else is kept as it is. No descriptor is closed here.
func Restore(specs []Spec, inherited []Socket) (kept, dropped []Socket) {
	taken := make([]bool, len(specs))
	for _, s := range inherited {
		if !IsStoreName(s.Name) {
			kept = append(kept, s)
			continue
		}
		if s, ok := s.restore(specs, taken); ok {
			kept = append(kept, s)
		} else {
			dropped = append(dropped, s)
		}
	}
	return kept, dropped
}
