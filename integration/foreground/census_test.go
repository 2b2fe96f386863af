//go:build linux

package foreground_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHandoffsLeaveNoDescriptors behind, nor processes: neither those that succeed nor
// those that fail or are refused.
func TestHandoffsLeaveNoDescriptors(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	f := s.start("flipexec", "--listen", "tcp:127.0.0.1:0", "--", "witness")
	s.mustReload()
	before := s.census(f)
	for range 5 {
		s.mustReload()
		if status, out := s.reload("--", "false"); status != 1 {
			t.Errorf("got status %d: %s", status, out)
		}
		if status, out := s.reload("--", "/none"); status != 127 {
			t.Errorf("got status %d: %s", status, out)
		}
		unix.Close(s.connect())
		f.signal(unix.SIGHUP)
		s.awaitIdle(f)
	}
	s.mustReload()
	eventually(t, "there are no more than before", func() bool { return s.census(f) <= before })
	f.signal(unix.SIGTERM)
	f.wantExit(128 + int(unix.SIGTERM))
}

// census counts the descriptors of flipexec and its keeper, once nothing is under way.
func (s *site) census(f *front) (count int) {
	s.t.Helper()
	s.awaitIdle(f)
	for _, pid := range append(children(s.t, f.Process.Pid), f.Process.Pid) {
		fds, err := os.ReadDir(proc(pid, "fd"))
		if err != nil {
			s.t.Fatal(err)
		}
		if strings.HasPrefix(read(s.t, pid, "cmdline"), "flipexec") { // the server's are its own
			count += len(fds)
		}
	}
	return count
}
