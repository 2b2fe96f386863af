package notation

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// unchanged is (uid_t)-1 of chown(2), which is nobody's number.
const unchanged = 1<<32 - 1

// CheckAccount refuses what can be neither a number nor a name of a user or group.
func CheckAccount(text string) error {
	if _, err := strconv.ParseUint(text, 10, 64); err == nil {
		if _, ok := account(text); !ok {
			return errors.New("is no number of a user or group")
		}
		return nil
	}
	if text == "" || len(text) > 256 || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || c == ':' || c == '/' }) {
		return errors.New("is no name of a user or group")
	}
	return nil
}

// account is text as a number.
func account(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return int(n), err == nil && n != unchanged
}

// User is the number of a user, and that of the group that a name belongs to, -1
// for a number. Names are looked up in /etc/passwd and nowhere else: package os/user
// costs every start, and the C library's other sources are not there for a static
// program.
func User(text string) (uid, gid int, err error) {
	if uid, ok := account(text); ok {
		return uid, -1, nil
	}
	entry, err := find("/etc/passwd", text)
	if err != nil {
		return 0, 0, fmt.Errorf("user %q: %w", text, err)
	}
	uid, ok := account(entry[2])
	gid, gok := account(entry[3])
	if !ok || !gok {
		return 0, 0, fmt.Errorf("user %q: /etc/passwd has no numbers for it", text)
	}
	return uid, gid, nil
}

// Group is the number of a group, by its name in /etc/group.
func Group(text string) (int, error) {
	if gid, ok := account(text); ok {
		return gid, nil
	}
	entry, err := find("/etc/group", text)
	if err != nil {
		return 0, fmt.Errorf("group %q: %w", text, err)
	}
	gid, ok := account(entry[2])
	if !ok {
		return 0, fmt.Errorf("group %q: /etc/group has no number for it", text)
	}
	return gid, nil
}

// find is the entry of that name in a file of passwd(5) or group(5), as its fields.
func find(path, name string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // a group may have many members
	for lines.Scan() {
		if entry := strings.Split(lines.Text(), ":"); len(entry) >= 4 && entry[0] == name {
			return entry, nil
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("is not in %s; hint: its number works always", path)
}
