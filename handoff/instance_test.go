package handoff

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestInstancesAreFoundByName, or because there is but one.
func TestInstancesAreFoundByName(t *testing.T) {
	var env []string
	roots := []string{filepath.Join(t.TempDir(), "none"), filepath.Join(t.TempDir(), "flipexec")}
	open := func(name string) {
		dir, err := makeInstanceDir(roots[1:], name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := bindControl([]string{directoryVariable + "=" + dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			s.Unlink()
			s.Close()
			removeInstanceDir([]string{directoryVariable + "=" + dir}, roots)
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("%s is left: %v", dir, err)
			}
		})
	}
	find := func(name, wantName, wantError string) {
		t.Helper()
		in, err := findInstance(env, roots, name)
		if wantError != "" {
			checkError(t, "find "+name, err, wantError)
		} else if err != nil || in.name != wantName {
			t.Errorf("find %q: got %q, %v, want %q", name, in.name, err, wantName)
		}
	}
	find("", "", "")
	find("web", "", `nothing called "web" is running; hint: systemctl reload UNIT`)
	open("web")
	find("", "web", "")
	open("api")
	find("", "", "several are running: api, web; hint: --name NAME")
	find("api", "api", "")
	env = append(env, "MAINPID=1") // of a unit that has nothing to do with them
	find("", "", "")
}

// TestNoDirectoryOfOthersIsUsed: in /tmp anybody can be there first.
func TestNoDirectoryOfOthersIsUsed(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		want string
	}{
		"a link":     {func(p string) error { return os.Symlink(filepath.Dir(p), p) }, "not a directory"},
		"a file":     {func(p string) error { return os.WriteFile(p, nil, 0o600) }, "not a directory"},
		"writable":   {func(p string) error { return mkdir(p, 0o777) }, "others can write to it"},
		"by a group": {func(p string) error { return mkdir(p, 0o770) }, "others can write to it"},
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "flipexec-0")
			if err := c.make(root); err != nil {
				t.Fatal(err)
			}
			_, err := makeInstanceDir([]string{root}, "web")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "hint: FLIPEXEC_RUNTIME_DIRECTORY=/path") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if found := allInstances([]string{root}, ""); len(found) > 0 {
				t.Errorf("found %v", found)
			}
		})
	}
}

func mkdir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// TestSIGPIPEIsIgnoredWhereSystemdWouldIgnoreIt, unless somebody says something else.
func TestSIGPIPEIsIgnoredWhereSystemdWouldIgnoreIt(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	given := []Setting{{"ignore-sigpipe", "yes"}}
	for _, c := range []struct {
		env      []string
		settings []Setting
		want     []Setting
	}{
		{nil, nil, []Setting{{"ignore-sigpipe", "no"}}},
		{nil, given, given},
		{[]string{"FLIPEXEC_IGNORE_SIGPIPE=yes"}, nil, nil},
		{[]string{"SYSTEMD_EXEC_PID=" + own}, nil, nil},
		{[]string{"SYSTEMD_EXEC_PID=1", "INVOCATION_ID=x"}, nil, []Setting{{"ignore-sigpipe", "no"}}}, // of the login's
		{[]string{"INVOCATION_ID=x"}, nil, nil},                                                       // before 248
	} {
		if got := withSIGPIPE(c.settings, c.env); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.env, got, c.want)
		}
	}
}

// TestReloadLooksWhereAnyEnvironmentMayHavePutIt: a start by a login, and a reload by
// cron or sudo, have different ones.
func TestReloadLooksWhereAnyEnvironmentMayHavePutIt(t *testing.T) {
	t.Setenv("TMPDIR", "/var/tmp")
	euid := strconv.Itoa(os.Geteuid())
	searched := searchedRoots(nil)
	for _, want := range []string{"/tmp/flipexec-" + euid, "/var/tmp/flipexec-" + euid, "/run/user/" + euid + "/flipexec"} {
		if !slices.Contains(searched, want) {
			t.Errorf("got %q, want %s in it", searched, want)
		}
	}
	t.Setenv("TMPDIR", "/tmp")
	if roots := instanceRoots(nil); roots[len(roots)-1] != "/tmp/flipexec-"+euid || strings.Count(strings.Join(roots, " "), "/tmp/") != 1 {
		t.Errorf("got %q", roots)
	}
}
