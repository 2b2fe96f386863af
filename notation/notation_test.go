package notation_test

import (
	"testing"
	"time"

	"github.com/flipexec/flipexec/notation"
)

// FuzzDuration: a duration is refused or comes back as it was, and is never shorter
// than allowed. Invariant I10.
func FuzzDuration(f *testing.F) {
	for _, text := range []string{"0", "90", "1m30s", "500ms", "1.5s", "-1s", "+5", "2147483647", "2147483648", "1ns", "1 m", ".5h", "2562047h47m16.854775807s"} {
		f.Add(text, int64(time.Millisecond))
		f.Add(text, int64(0))
	}
	f.Fuzz(func(t *testing.T, text string, least int64) {
		d, err := notation.Duration(text, time.Duration(least))
		if err != nil {
			return
		}
		if again, err := notation.Duration(d.String(), time.Duration(least)); err != nil || again != d || d < time.Duration(least) {
			t.Fatalf("%q is %v, and then %v, %v", text, d, again, err)
		}
	})
}

func TestSizeHasTheSuffixesOfSystemd(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "65536": 65536, "64K": 65536, "1M": 1 << 20, "1G": 1 << 30,
		"": -1, "K": -1, "-1": -1, "1k": -1, "1.5K": -1, "2G": -1, "4294967296G": -1, "1KK": -1, "0x10": -1, " 1": -1} {
		got, err := notation.Size(text, 0, 1<<31-1)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestModeIsOctal(t *testing.T) {
	for text, want := range map[string]int{"0660": 0o660, "660": 0o660, "0": 0, "777": 0o777,
		"": -1, "1777": -1, "0888": -1, "-1": -1, "rw": -1, "0o660": -1} {
		got, err := notation.Mode(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %o, %v, want %o", text, got, err, want)
		}
	}
}

func TestNearestIsTheLikelySlip(t *testing.T) {
	all := []string{"backlog", "reuseport", "rcvbuf", "sndbuf", "mode"}
	for text, want := range map[string]string{"backlg": "backlog", "reuse-port": "reuseport", "sndbuff": "sndbuf", "mod": "mode", "": "mode"} {
		if got := notation.Nearest(text, all); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestAccountsAreNumbersOrNames(t *testing.T) {
	for text, want := range map[string][2]int{"root": {0, 0}, "0": {0, -1}, "4242": {4242, -1}} {
		uid, gid, err := notation.User(text)
		if err != nil || uid != want[0] || gid != want[1] {
			t.Errorf("user %q: got %d, %d, %v, want %d", text, uid, gid, err, want)
		}
	}
	for text, want := range map[string]int{"root": 0, "4242": 4242} {
		if gid, err := notation.Group(text); err != nil || gid != want {
			t.Errorf("group %q: got %d, %v, want %d", text, gid, err, want)
		}
	}
	_, _, err := notation.User("no-such-user")
	if want := `user "no-such-user": is not in /etc/passwd; hint: its number works always`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := notation.Group("no-such-group"); err == nil {
		t.Error("found a group that is not there")
	}
	for _, text := range []string{"", "a:b", "a/b", "a b", "4294967295", "99999999999", "a\n"} {
		if notation.CheckAccount(text) == nil {
			t.Errorf("%q passes for an account", text)
		}
	}
}
