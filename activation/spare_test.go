package activation_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
	"golang.org/x/sys/unix"
)

// withSpare is a socket whose path can be put back.
func withSpare(t *testing.T, text string) (activation.Socket, activation.Spare) {
	t.Helper()
	s := bind(t, text)
	spare, err := activation.NewSpare(s)
	if err != nil {
		t.Fatal(err)
	}
	return s, spare
}

// spareOf is the spare name of the socket at path.
func spareOf(path string, s activation.Socket) string {
	return filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.flipexec-%d", filepath.Base(path), s.Ino))
}

// checkFiles wants these names in the directory of path, and no others.
func checkFiles(t *testing.T, path string, want ...string) {
	t.Helper()
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("files: got %q, want %q", got, want)
	}
}

// checkPath wants the very file of the socket at its path.
func checkPath(t *testing.T, path string, s activation.Socket) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || uint64(st.Dev) != s.Dev || st.Ino != s.Ino {
		t.Errorf("%s: got file %d:%d, %v, want %d:%d", path, st.Dev, st.Ino, err, s.Dev, s.Ino)
	}
}

// checkPutBack puts the path back, which is necessary or not.
func checkPutBack(t *testing.T, spare activation.Spare, want bool) {
	t.Helper()
	if got, err := spare.PutBack(); err != nil || got != want {
		t.Errorf("put back: got %v, %v, want %v", got, err, want)
	}
}

func TestUnlinkedPathIsPutBack(t *testing.T) {
	for _, network := range []string{"unix", "unixgram", "unixpacket", "fifo"} {
		for name, c := range map[string]struct {
			remove func(at string) error
			left   []string
		}{
			"unlinked": {os.Remove, []string{"s"}},
			"moved":    {func(at string) error { return os.Rename(at, at+".old") }, []string{"s", "s.old"}},
		} {
			t.Run(network+" "+name, func(t *testing.T) {
				at := path(t)
				checkFDs(t)
				s, spare := withSpare(t, network+":"+at)
				checkPutBack(t, spare, false)
				if err := c.remove(at); err != nil {
					t.Fatal(err)
				}
				checkMissing(t, at)
				checkPutBack(t, spare, true)
				checkPutBack(t, spare, false)
				checkPath(t, at, s)
				if network == "unix" && !accepts(t, s, network, at) {
					t.Error("a connection to the path does not arrive")
				}
				activation.RemoveSpares([]activation.Socket{s})
				checkFiles(t, at, c.left...)
			})
		}
	}
}

// TestPathOfSomebodyElseIsNotTaken: whatever it is that is there by now.
func TestPathOfSomebodyElseIsNotTaken(t *testing.T) {
	for name, put := range map[string]func(at string) error{
		"socket":        func(at string) error { return listenUntilTheEnd(t, at) },
		"regular file":  func(at string) error { return os.WriteFile(at, nil, 0o600) },
		"directory":     func(at string) error { return os.Mkdir(at, 0o700) },
		"dangling link": func(at string) error { return os.Symlink("nowhere", at) },
	} {
		t.Run(name, func(t *testing.T) {
			at := path(t)
			s, spare := withSpare(t, "unix:"+at)
			if err := errors.Join(os.Remove(at), put(at)); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(at)
			if err != nil {
				t.Fatal(err)
			}
			done, err := spare.PutBack()
			if want := "put back " + at + ": another file is there by now, and stays"; done || err == nil || err.Error() != want {
				t.Errorf("got %v, %v, want %q", done, err, want)
			}
			if after, err := os.Lstat(at); err != nil || !os.SameFile(before, after) {
				t.Errorf("it is not there any more: %v", err)
			}
			s.Unlink()
			checkFiles(t, at, "s")
		})
	}
}

// listenUntilTheEnd is somebody else.
func listenUntilTheEnd(t *testing.T, at string) error {
	l, err := net.Listen("unix", at)
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return err
}

// TestNothingButOurFileGetsAName: neither a spare one nor the path.
func TestNothingButOurFileGetsAName(t *testing.T) {
	t.Run("another file at the path", func(t *testing.T) {
		at := path(t)
		s := bind(t, "unix:"+at)
		if err := os.Remove(at); err != nil {
			t.Fatal(err)
		}
		write(t, at)
		if _, err := activation.NewSpare(s); err == nil || !strings.Contains(err.Error(), "spare name for "+at+": the file at the path is not the one that was bound there") {
			t.Errorf("got %v", err)
		}
		checkFiles(t, at, "s")
	})
	t.Run("a link at the path", func(t *testing.T) {
		at := path(t)
		s := bind(t, "unix:"+at)
		if err := errors.Join(os.Rename(at, at+".old"), os.Symlink("s.old", at)); err != nil {
			t.Fatal(err)
		}
		if _, err := activation.NewSpare(s); err == nil {
			t.Error("linked through a symbolic link")
		}
		checkFiles(t, at, "s", "s.old")
	})
	t.Run("another file at the spare name", func(t *testing.T) {
		at := path(t)
		s := bind(t, "unix:"+at)
		write(t, spareOf(at, s))
		if _, err := activation.NewSpare(s); !errors.Is(err, unix.EEXIST) {
			t.Errorf("got %v, want %v", err, unix.EEXIST)
		}
		s.Unlink()
		activation.RemoveSpares([]activation.Socket{s})
		checkFiles(t, at, filepath.Base(spareOf(at, s)))
	})
	t.Run("another file at the spare name later", func(t *testing.T) {
		at := path(t)
		s, spare := withSpare(t, "unix:"+at)
		if err := errors.Join(os.Remove(at), os.Remove(spareOf(at, s))); err != nil {
			t.Fatal(err)
		}
		write(t, spareOf(at, s))
		if done, err := spare.PutBack(); done || err == nil {
			t.Errorf("got %v, %v, want an error", done, err)
		}
		checkMissing(t, at)
	})
	t.Run("no file at all", func(t *testing.T) {
		for _, text := range []string{"tcp:127.0.0.1:0", "unix:@" + t.Name()} {
			if _, err := activation.NewSpare(bind(t, text)); err == nil {
				t.Errorf("%s has a spare name", text)
			}
		}
	})
}

// TestSpareOfAnotherProcessIsTaken: of one that was killed, or is about to be replaced.
// Without any the file cannot be had back.
func TestSpareOfAnotherProcessIsTaken(t *testing.T) {
	at := path(t)
	s, _ := withSpare(t, "unix:"+at)
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	spare, err := activation.NewSpare(s)
	if err != nil {
		t.Fatal(err)
	}
	checkPutBack(t, spare, true)
	checkPath(t, at, s)

	if err := errors.Join(os.Remove(at), os.Remove(spareOf(at, s))); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{second(spare.PutBack()), second(activation.NewSpare(s))} {
		if !errors.Is(err, unix.ENOENT) || !strings.HasSuffix(err.Error(), "; hint: the next reload binds it anew") {
			t.Errorf("got %v, want %v and a hint", err, unix.ENOENT)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestUnlinkTakesTheSpareAway: also if the path is lost, so that nobody can put it back.
func TestUnlinkTakesTheSpareAway(t *testing.T) {
	at := path(t)
	s, spare := withSpare(t, "unix:"+at)
	s.Unlink()
	checkFiles(t, at)
	if done, err := spare.PutBack(); done || err == nil {
		t.Errorf("put back: got %v, %v, want an error", done, err)
	}

	lost, _ := withSpare(t, "unix:"+at)
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	other := bind(t, "unix:"+at)
	lost.Unlink()
	checkPath(t, at, other)
	checkFiles(t, at, "s")
}

// TestUnlinkIsNotUndone: by another process that puts the path back as fast as it can.
func TestUnlinkIsNotUndone(t *testing.T) {
	at := path(t)
	for range 500 {
		s, spare := withSpare(t, "unix:"+at)
		started, stop, stopped := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			close(started)
			for {
				select {
				case <-stop:
					return
				default:
					spare.PutBack() // best effort: it fails in the end
				}
			}
		}()
		<-started
		s.Unlink()
		close(stop)
		<-stopped
		s.Close()
		checkFiles(t, at)
	}
}

// TestSparesOfKilledProcessesAreRemoved: of every earlier socket at the same path, and
// nothing that is not known to be one: invariant I8.
func TestSparesOfKilledProcessesAreRemoved(t *testing.T) {
	at := path(t)
	earlier, _ := withSpare(t, "unix:"+at)
	earlier.Close()
	s, _ := withSpare(t, "unix:"+at) // its path was stale
	fifo, _ := withSpare(t, "fifo:"+at+"2")
	unrelated, _ := withSpare(t, "unix:"+at+"3")
	checkFiles(t, at, "s", "s2", "s3", filepath.Base(spareOf(at, earlier)), filepath.Base(spareOf(at, s)),
		filepath.Base(spareOf(at+"2", fifo)), filepath.Base(spareOf(at+"3", unrelated)))

	stay := []string{"s", "s2", "s3", filepath.Base(spareOf(at+"3", unrelated))}
	for _, name := range []string{".s.flipexec-1", ".s.flipexec-", ".s.flipexec-x", ".flipexec-1", "s.flipexec-1",
		fmt.Sprintf(".s.flipexec-0%d", s.Ino), fmt.Sprintf(".s.flipexec-+%d", s.Ino), fmt.Sprintf(".s.flipexec-%d.old", s.Ino), fmt.Sprintf("s.flipexec-%d", s.Ino)} {
		if err := os.Link(at, filepath.Join(filepath.Dir(at), name)); err != nil {
			t.Fatal(err)
		}
		stay = append(stay, name)
	}
	stay = append(stay, regularSpare(t, at))

	activation.RemoveSpares([]activation.Socket{s, fifo, {FD: s.FD, Name: "systemd's"}})
	checkFiles(t, at, stay...)
}

// regularSpare is a regular file under a name that would be right for a socket.
func regularSpare(t *testing.T, at string) string {
	t.Helper()
	file := filepath.Join(filepath.Dir(at), "regular")
	write(t, file)
	var st unix.Stat_t
	if err := unix.Lstat(file, &st); err != nil {
		t.Fatal(err)
	}
	name := spareOf(at, activation.Socket{Ino: st.Ino})
	if err := os.Rename(file, name); err != nil {
		t.Fatal(err)
	}
	return filepath.Base(name)
}

// TestPathWithASpareIsNotLost: a reload between unlink and return goes on with the
// socket that it has.
func TestPathWithASpareIsNotLost(t *testing.T) {
	at := path(t)
	s, _ := withSpare(t, "unix:"+at)
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	checkSet(t, gather(t, []activation.Socket{s}, "unix:"+at), 0)
	checkPath(t, at, s)
}
