package pidfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     int // 0: refused
	}{
		{"one line", "1234\n", 1234},
		{"no newline", "1234", 1234},
		{"lines after it", "1234\n/var/lib/db\n5432\n", 1234},
		{"largest", "2147483647\n", 2147483647},
		{"nothing", "", 0},
		{"empty first line", "\n1234\n", 0},
		{"zero", "0\n", 0},
		{"negative", "-1\n", 0},
		{"plus sign", "+1\n", 0},
		{"leading zero", "01\n", 0},
		{"space before", " 1\n", 0},
		{"space after", "1 \n", 0},
		{"carriage return", "1\r\n", 0},
		{"underscore", "1_000\n", 0},
		{"hexadecimal", "0x10\n", 0},
		{"NUL", "1\x00\n", 0},
		{"too large", "2147483648\n", 0},
		{"longer than is read", strings.Repeat("1", maxLine), 0},
		{"text", "running\n", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parse([]byte(tc.in))
			if got != tc.want || (err == nil) != (tc.want > 0) {
				t.Errorf("parse(%q) = %d, %v, want %d", tc.in, got, err, tc.want)
			}
		})
	}
}

// FuzzParse checks that nothing but a PID in its one spelling is taken for one:
// invariant I10.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "1\n", "-1", "00", "2147483648", "1\n2", "9999999999999999999999999999999999"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		pid, err := parse(b)
		if err != nil {
			if pid != 0 {
				t.Fatalf("parse(%q) = %d with the error %v", b, pid, err)
			}
			return
		}
		s := strconv.Itoa(pid)
		if pid <= 0 || string(b) != s && !strings.HasPrefix(string(b), s+"\n") {
			t.Fatalf("parse(%q) = %d", b, pid)
		}
	})
}

// FuzzFormat checks that whatever can be written is read as the same process, and
// that what cannot be read is not written: invariant I10.
func FuzzFormat(f *testing.F) {
	for _, pid := range []int64{1, 4194304, 2147483647, 2147483648, 0, -1} {
		f.Add(pid)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		pid := int(n)
		b, err := format(pid)
		if err != nil {
			if got, err := parse([]byte(strconv.Itoa(pid))); err == nil {
				t.Fatalf("%d is not written, and read as %d", pid, got)
			}
			return
		}
		if got, err := parse(b); err != nil || got != pid || len(b) > maxLine {
			t.Fatalf("%d is written as %q and read as %d, %v", pid, b, got, err)
		}
	})
}

// unusual puts at a path what is no PID file, and says what is wrong with it.
var unusual = []struct {
	name, want string
	is         error
	make       func(path string) error
}{
	{"directory", "not a regular file", errNotRegular, func(p string) error { return os.Mkdir(p, 0o755) }},
	{"FIFO", "not a regular file", errNotRegular, func(p string) error { return unix.Mkfifo(p, 0o644) }},
	{"socket", "not a regular file", errNotRegular, func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o644, 0) }},
}

// TestReadCheckAndWriteRefuseWhatIsNoFile: invariant I10, for what is found at the
// path of a PID file.
func TestReadCheckAndWriteRefuseWhatIsNoFile(t *testing.T) {
	for _, tc := range unusual {
		t.Run(tc.name, func(t *testing.T) {
			path := newPath(t)
			if err := tc.make(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			_, errRead := Read(path)
			_, errWrite := Write(path, 1234)
			for op, err := range map[string]error{"read": errRead, "write": errWrite, "check": Check(path)} {
				if want := op + " " + path + ": " + tc.want; err == nil || err.Error() != want || !errors.Is(err, tc.is) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
			if err := Remove(path, 1234); err != nil {
				t.Error(err)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("it is another one now: %v", err)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	path := newPath(t)
	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "read "+path+": ") {
		t.Errorf("missing: got %v", err)
	}
	put(t, path, "running\n", 0o644)
	if _, err := Read(path); err == nil || err.Error() != "read "+path+`: "running" is not a PID` {
		t.Errorf("text: got %v", err)
	}
	target := filepath.Join(t.TempDir(), "target")
	put(t, target, "1234\n", 0o644)
	link := newPath(t)
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(link); got != 0 || !errors.Is(err, errNotRegular) {
		t.Errorf("symbolic link: got %d, %v", got, err)
	}
}

func TestCheckAcceptsWhatWriteCanReplaceAndChangesNothing(t *testing.T) {
	path := newPath(t)
	if err := Check(path); err != nil {
		t.Errorf("missing: %v", err)
	}
	checkMissing(t, path)
	put(t, path, "99\n", 0o644)
	if err := Check(path); err != nil {
		t.Errorf("regular file: %v", err)
	}
	checkContent(t, path, "99\n")
	link := newPath(t)
	if err := os.Symlink("/nonexistent", link); err != nil {
		t.Fatal(err)
	}
	if err := Check(link); err != nil {
		t.Errorf("symbolic link: %v", err)
	}
}

func TestEveryPathThatIsNoFileNameIsRefused(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/file", "", 0o644)
	for _, tc := range []struct{ name, path, want string }{
		{"empty", "", ": not a file name"},
		{"slash at the end", dir + "/x/", "check " + dir + "/x/: not a file name"},
		{"dots", dir + "/..", "check " + dir + "/..: not a file name"},
		{"missing directory", dir + "/none/pid", "check " + dir + "/none/pid: directory " + dir + "/none/: no such file or directory"},
		{"file as directory", dir + "/file/pid", "check " + dir + "/file/pid: directory " + dir + "/file/: not a directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := Check(tc.path)
			if err == nil || !strings.HasSuffix(err.Error(), tc.want) {
				t.Fatalf("Check: got %v, want %q", err, tc.want)
			}
			f, errWrite := Write(tc.path, 1234)
			if f != nil || errWrite == nil || errWrite.Error() != "write"+strings.TrimPrefix(err.Error(), "check") {
				t.Errorf("Write: got %v, %v after Check said %q", f, errWrite, err)
			}
		})
	}
}

func TestRemoveTouchesOnlyItsOwnFile(t *testing.T) {
	path := newPath(t)
	for _, tc := range []struct {
		name, content string
		gone          bool
	}{
		{"ours", "1234\n", true},
		{"ours without a newline", "1234", true},
		{"another PID", "5678\n", false},
		{"longer PID", "12345\n", false},
		{"text", "running\n", false},
		{"empty", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			put(t, path, tc.content, 0o644)
			if err := Remove(path, 1234); err != nil {
				t.Fatal(err)
			}
			if tc.gone {
				checkMissing(t, path)
				return
			}
			checkContent(t, path, tc.content)
		})
	}
}

func TestRemoveOfWhatIsMissingIsNoError(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir + "/pid", dir + "/none/pid"} {
		if err := Remove(path, 1234); err != nil {
			t.Error(err)
		}
	}
}

func TestRemoveDoesNotFollowALink(t *testing.T) {
	target := filepath.Join(t.TempDir(), "target")
	put(t, target, "1234\n", 0o644)
	path := newPath(t)
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	if err := Remove(path, 1234); err != nil {
		t.Error(err)
	}
	checkContent(t, target, "1234\n")
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the link: %v", err)
	}
}
