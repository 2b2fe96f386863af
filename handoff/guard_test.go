package handoff

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// guarding is a current keeper with sockets at these names in a directory of their own,
// which it guards.
func guarding(t *testing.T, names ...string) (k *keeper, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "guard")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	k = answering(t)
	for _, name := range names {
		k.Sockets = append(k.Sockets, bound(t, "unix:"+filepath.Join(dir, name)))
	}
	k.guardPaths()
	t.Cleanup(k.guard.close)
	return k, dir
}

// awaits lets the keeper serve events until there is what is expected.
func (k *keeper) awaits(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); k.await() {
		if time.Now().After(deadline) {
			t.Fatalf("not after 10 s: %s", what)
		}
		k.deafUntil = time.Now().Add(10 * time.Millisecond) // ends a poll(2) without event
	}
}

// idles lets the keeper serve all events that there are.
func (k *keeper) idles(t *testing.T) {
	t.Helper()
	turns := 0
	k.awaits(t, "no event", func() bool {
		p := []unix.PollFd{{Fd: int32(k.guard.inotify), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		turns++
		return n == 0 && err == nil && turns > 1
	})
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// checkGuarded wants these files in the directory, beside spare names.
func checkGuarded(t *testing.T, dir string, spares int, want ...string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") {
			spares--
			continue
		}
		got = append(got, f.Name())
	}
	if !slices.Equal(got, want) || spares != 0 {
		t.Errorf("files: got %q, want %q; spare names too few: %d", got, want, spares)
	}
}

func TestKeeperPutsBackWhatIsUnlinked(t *testing.T) {
	k, dir := guarding(t, "a", "b")
	for _, name := range []string{"a", "b", "a"} {
		path := filepath.Join(dir, name)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		k.awaits(t, name+" is back", func() bool { return there(path) })
	}
	checkGuarded(t, dir, 2, "a", "b")
}

// TestGuardEndsWithTheOtherGenerations: nothing is left of it, and a path that was
// unlinked at the very last is there.
func TestGuardEndsWithTheOtherGenerations(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *keeper){
		"the last older one is gone": func(t *testing.T, k *keeper) {
			p := &predecessor{generation: 6, ours: true, told: true}
			k.Older = []*predecessor{{generation: 5, ours: true}, p}
			k.forget(k.Older[0])
			if k.guard.spares == nil {
				t.Error("the guard ended with the first of two")
			}
			k.forget(p)
		},
		"the new one has failed": func(t *testing.T, k *keeper) {
			var launcher *channel
			k.successor, launcher = channelPair(t)
			k.settle()
			if k.guard.spares == nil {
				t.Error("the guard ended with a successor at work")
			}
			launcher.close()
			k.readSuccessor()
		},
	} {
		t.Run(name, func(t *testing.T) {
			checkFDs(t)
			k, dir := guarding(t, "a")
			if err := os.Remove(filepath.Join(dir, "a")); err != nil {
				t.Fatal(err)
			}
			k.env = []string{"NOTIFY_SOCKET="} // of whose directory nothing is to be removed
			k.private = true
			end(t, k)
			checkGuarded(t, dir, 0, "a")
			if k.guard.inotify != 0 {
				t.Error("the watch stays")
			}
		})
	}
}

// TestSuccessorTakesTheGuardOver: the spare names stay when the keeper is replaced, and
// what its successor drops is not put back.
func TestSuccessorTakesTheGuardOver(t *testing.T) {
	k, dir := guarding(t, "kept", "dropped")
	var launcher *channel
	k.successor, launcher = channelPair(t)
	defer launcher.close()
	defer k.successor.close()
	dropped := k.Sockets[1]
	dropped.FD = -1 // as in an estate
	dropped.Unlink()
	k.idles(t)
	checkGuarded(t, dir, 1, "kept")

	k.guard.close()
	next := &keeper{state: current, estate: estate{Sockets: k.Sockets[:1]}}
	next.guardPaths()
	defer next.guard.close()
	checkGuarded(t, dir, 1, "kept")
	if err := os.Remove(filepath.Join(dir, "kept")); err != nil {
		t.Fatal(err)
	}
	next.filesChanged()
	checkGuarded(t, dir, 1, "kept")
	next.unlink()
	checkGuarded(t, dir, 0)
	if next.guard.inotify != 0 {
		t.Error("the watch outlives what it is for")
	}
}

// TestLostEventsDoNotLoseAPath: so many files change that the kernel has no room for
// the event that counts.
func TestLostEventsDoNotLoseAPath(t *testing.T) {
	k, dir := guarding(t, "a", "b", "c")
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	room, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i <= room; i++ { // by turns: an event like the last one is none
		if err := os.Chmod(filepath.Join(dir, []string{"a", "b"}[i%2]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "c")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	k.awaits(t, "c is back", func() bool { return there(path) })
}

func TestWatchDescriptorsAreThoseOfTheEvents(t *testing.T) {
	event := func(wd int32, name string) []byte {
		var b bytes.Buffer
		for _, v := range []any{wd, uint32(unix.IN_ATTRIB), uint32(0), uint32(len(name)), []byte(name)} {
			if err := binary.Write(&b, binary.NativeEndian, v); err != nil {
				t.Fatal(err)
			}
		}
		return b.Bytes()
	}
	for name, c := range map[string]struct {
		events []byte
		want   []int
	}{
		"none":        {nil, nil},
		"each once":   {slices.Concat(event(3, ""), event(1, ""), event(3, "")), []int{1, 3}},
		"lost events": {event(overflow, ""), []int{overflow}},
		"with a name": {slices.Concat(event(2, "file\x00\x00\x00\x00"), event(4, "")), []int{2, 4}},
		"cut short":   {slices.Concat(event(2, ""), event(4, "")[:15]), []int{2}},
		"cut name":    {event(2, "file\x00\x00\x00\x00")[:18], []int{2}},
	} {
		if got := watchDescriptors(c.events); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// roleGuard is a keeper whose user has no more inotify instances. It says what is there
// when its guard begins, and at its end.
func roleGuard() error {
	for {
		_, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err == unix.EMFILE {
			break
		}
		if err != nil {
			return err
		}
	}
	spec, err := activation.ParseSpec("unix:" + os.Getenv("GUARD_PATH"))
	if err != nil {
		return err
	}
	s, err := activation.Bind(spec)
	if err != nil {
		return err
	}
	k := &keeper{state: current, estate: estate{Sockets: []activation.Socket{s}}}
	k.guardPaths()
	if err := os.Remove(spec.Address); err != nil {
		return err
	}
	k.settle()
	fmt.Println("there:", there(spec.Address), "watched:", k.guard.inotify != 0)
	return nil
}

// TestGuardWithoutWatchPutsBackAtItsEnd: and says why it is late.
func TestGuardWithoutWatchPutsBackAtItsEnd(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root, to be somebody whose instances nobody else needs")
	}
	dir, err := os.MkdirTemp("", "guard")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, somebody, somebody)); err != nil {
		t.Fatal(err)
	}
	cmd := as(somebody, "guard")
	cmd.Env = append(cmd.Env, "GUARD_PATH="+filepath.Join(dir, "a"))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if got, want := strings.TrimSpace(string(out)), "there: true watched: false"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if got, want := complaint.String(), "inotify_init: too many open files; hint: sysctl fs.inotify.max_user_instances; a path that the old server unlinks is not put back at once\n"; strings.Count(got, want) != 1 {
		t.Errorf("complaints: got %q, want %q once", got, want)
	}
}
