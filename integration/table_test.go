//go:build linux

package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A table is a file for people whose rows are what the tests saw.
type table struct {
	file, head string
	names      []string // of all rows, in order

	mu   sync.Mutex
	rows map[string]string // by name
}

func newTable(file, head string, names []string) *table {
	return &table{file: file, head: head, names: names, rows: map[string]string{}}
}

func (tb *table) add(name, row string) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.rows[name] = row
}

// check fails the test if the file says something else. Of rows that were not run it
// can say anything. FLIPEXEC_UPDATE=1 replaces it, if all were.
func (tb *table) check(t *testing.T) {
	t.Helper()
	var b strings.Builder
	b.WriteString(tb.head)
	for _, name := range tb.names {
		b.WriteString(tb.rows[name])
	}
	all := len(tb.rows) == len(tb.names)
	if os.Getenv("FLIPEXEC_UPDATE") != "" && all {
		if err := os.WriteFile(tb.file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(tb.file)
	if err != nil {
		t.Fatal(err)
	}
	got, want := strings.Split(b.String(), "\n"), strings.Split(string(file), "\n")
	if !all {
		want = slices.DeleteFunc(want, func(line string) bool { return !slices.Contains(got, line) })
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s says something else (FLIPEXEC_UPDATE=1 replaces it):\n%s", tb.file, difference(got, want))
	}
}

// difference lists the lines that are not in both, in a form for people.
func difference(got, want []string) string {
	var b strings.Builder
	for _, line := range want {
		if !slices.Contains(got, line) {
			fmt.Fprintln(&b, "file", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			fmt.Fprintln(&b, "now ", line)
		}
	}
	return b.String()
}
