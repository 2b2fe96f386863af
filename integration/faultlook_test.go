//go:build linux

package integration

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flipexec/flipexec/integration/rig"
)

// look finds out what there is when everything has settled.
func (r *faultRig) look(t *testing.T, o *outcome, first int) {
	t.Helper()
	m := r.members(t)
	server := m["server"][0]
	generation := r.generation(t)
	whose := func(pid int) string {
		if pid != server.pid {
			t.Errorf("process %d, and not %d, the only server", pid, server.pid)
			return "another"
		}
		return "same"
	}
	o.serves = generation
	if generation == "1" && server.pid != first {
		// What the reload of a unit says that crashes meanwhile depends
		// on when systemd starts it again.
		o.serves, o.reload = "anew", "–"
	}
	o.main, o.file = whose(mainPID(t, r.Rig)), whose(pidFile(t, r.Rig))
	o.paths = r.declaredPaths(t)
	o.processes = strconv.Itoa(len(m["server"]) + len(m["keeper"]))
	o.descriptors = "–"
	if len(m["keeper"]) > 0 {
		o.descriptors = r.awaitDescriptors(t, generation)
	}
	link := r.Path("/run/web/flipexec-notify-" + generation)
	rig.WaitFor(t, "the server's notify path leads to systemd", 5*time.Second, func() bool {
		to, err := os.Readlink(link)
		return err == nil && to == "/run/systemd/notify"
	})
	o.next = r.nextReload(t, len(m["keeper"]))
}

// awaitDescriptors compares the keeper's descriptors with those of an undisturbed
// one, which it may reach only when it has heard of the end of others.
func (r *faultRig) awaitDescriptors(t *testing.T, generation string) string {
	t.Helper()
	want := r.descriptors[generation]
	var now []string
	for deadline := time.Now().Add(5 * time.Second); !slices.Equal(now, want); now = r.keeperDescriptors(t) {
		if time.Now().After(deadline) {
			t.Errorf("descriptors of keeper %s: got %q, want %q", generation, now, want)
			break
		}
	}
	return fmt.Sprintf("%+d", len(now)-len(want))
}

// generation is the one that answers, each of several times.
func (r *faultRig) generation(t *testing.T) string {
	t.Helper()
	_, header := get(t, r.Rig, "/")
	generation := header.Get("X-Generation")
	for range 3 {
		if _, header = get(t, r.Rig, "/"); header.Get("X-Generation") != generation {
			t.Errorf("generations %s and %s answer", generation, header.Get("X-Generation"))
		}
	}
	return generation
}

// declaredPaths finds which generation's unix sockets are there, and answer.
func (r *faultRig) declaredPaths(t *testing.T) string {
	t.Helper()
	there := ""
	for _, p := range []struct{ path, generation string }{{"/run/old.sock", "1"}, {"/run/new.sock", "2"}} {
		if _, err := os.Lstat(r.Path(p.path)); err != nil {
			continue
		}
		there += p.generation
		if err := r.connects(t, p.path); err != nil {
			t.Errorf("%s: %v", p.path, err)
		}
	}
	return there
}

func (r *faultRig) connects(t *testing.T, path string) error {
	c, err := r.Dial(t.Context(), "unix", path)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

// nextReload works where there is a keeper, and says what to do where there is
// none.
func (r *faultRig) nextReload(t *testing.T, keepers int) string {
	t.Helper()
	said := r.Journal("web.service")
	_, err := r.Systemctl("reload", "web")
	if err == nil {
		r.settle(t)
		return "done"
	}
	if keepers == 0 && strings.Contains(strings.TrimPrefix(r.Journal("web.service"), said), "hint: systemctl restart") {
		return "says restart"
	}
	t.Errorf("next reload: %v", err)
	return "fails"
}
