package handoff

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// A guard keeps the paths of our sockets where they are while there is another
// generation, whose server may unlink them: one that drains, or a new one that fails.
// (Many servers do so when they stop.) Nobody can forbid an unlink(2), or hear of it
// before it is done. So the path is away until we have woken up and linked it again.
type guard struct {
	inotify int // 0 for none
	spares  []activation.Spare
	watched map[int]activation.Spare // by watch descriptor
}

// guardPaths begins before the server of another generation is started, or told to stop.
func (k *keeper) guardPaths() {
	if k.guard.spares != nil {
		return
	}
	for _, s := range k.Sockets {
		if s.Ino == 0 { // without a path, or not ours
			continue
		}
		spare, err := activation.NewSpare(s)
		if err != nil {
			k.complainOfGuard(err)
			continue
		}
		k.guard.spares = append(k.guard.spares, spare)
	}
	if k.guard.spares == nil {
		return
	}
	if err := k.guard.watch(); err != nil {
		k.complainOfGuard(err)
	}
	k.putAllBack() // what was unlinked before it was watched
}

// complainOfGuard says once what is missing, for however many sockets it is. Everything
// goes on: at worst a path is away until the next reload. While that is under way, it
// is for the successor to say.
func (k *keeper) complainOfGuard(err error) {
	if k.successor == nil {
		k.complain("guard", "%v; a path that the old server unlinks is not put back at once", err)
	}
}

// watch lets the loop know when one of the files has lost a name.
func (g *guard) watch() error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("inotify_init: %w; hint: sysctl fs.inotify.max_user_instances", err)
	}
	g.inotify, g.watched = fd, map[int]activation.Spare{}
	for _, s := range g.spares {
		wd, werr := s.Watch(fd)
		if werr != nil {
			err = werr
			continue
		}
		g.watched[wd] = s
	}
	return err
}

// close ends the watch and leaves the spare names where they are. It can take 10 ms, in
// which the kernel waits for whoever may be sending an event.
func (g *guard) close() {
	if g.inotify > 0 {
		unix.Close(g.inotify)
	}
	*g = guard{}
}

// endGuard is for when there is no other generation any more.
func (k *keeper) endGuard() {
	if k.guard.spares == nil {
		return
	}
	k.putAllBack() // what was unlinked at the very end, or not seen
	k.guard.close()
	activation.RemoveSpares(k.Sockets)
}

// filesChanged puts back what was unlinked or moved away.
func (k *keeper) filesChanged() {
	var buf [4096]byte
	n, err := unix.Read(k.guard.inotify, buf[:])
	if err == unix.EINTR || err == unix.EAGAIN {
		return
	}
	if err != nil {
		k.complainOfGuard(os.NewSyscallError("read", err))
		unix.Close(k.guard.inotify)
		k.guard.inotify = 0
		return
	}
	for _, wd := range watchDescriptors(buf[:n]) {
		if wd == overflow {
			k.putAllBack()
		} else if s, ok := k.guard.watched[wd]; ok {
			k.putBack(s)
		}
	}
}

// overflow stands for events that were lost, inotify(7).
const overflow = -1

// watchDescriptors are those of events, each once.
func watchDescriptors(events []byte) (wds []int) {
	for len(events) >= unix.SizeofInotifyEvent {
		wds = append(wds, int(int32(binary.NativeEndian.Uint32(events))))
		name := binary.NativeEndian.Uint32(events[12:])
		events = events[min(unix.SizeofInotifyEvent+int(name), len(events)):]
	}
	slices.Sort(wds)
	return slices.Compact(wds)
}

func (k *keeper) putAllBack() {
	for _, s := range k.guard.spares {
		k.putBack(s)
	}
}

// putBack is silent about a path that is another's while a successor is at work: it may
// have dropped the socket, or bound another one there.
func (k *keeper) putBack(s activation.Spare) {
	done, err := s.PutBack()
	if done {
		k.complain("unlinked "+s.String(), "%v was unlinked, and is back", s)
	}
	if err != nil && k.successor == nil {
		k.complain("path "+s.String(), "%v", err)
	}
}
