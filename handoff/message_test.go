package handoff

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// decode puts records together again.
func decode(t *testing.T, records []record) message {
	t.Helper()
	var m message
	for i, r := range records {
		more, err := m.decodeRecord(r.data, r.fds)
		if err != nil {
			t.Fatal(err)
		}
		if want := i < len(records)-1; more != want {
			t.Fatalf("record %d of %d: more follow: got %v, want %v", i+1, len(records), more, want)
		}
	}
	return m
}

// asSent are the fields of m as they arrive.
func asSent(m message) []field {
	n := m.descriptors()
	if n <= fewDescriptors {
		return m.fields
	}
	return append([]field{{fieldDescriptors, fmt.Sprint(n), -1}}, m.fields...)
}

func TestMessageComesBackAsItWas(t *testing.T) {
	many := message{kind: "many"}
	for i := range 2*recordFDs + 1 {
		many.addFD("socket", fmt.Sprint(i), 1000+i)
	}
	for name, c := range map[string]struct {
		m       message
		records int
	}{
		"kind alone":                             {message{kind: "done"}, 1},
		"empty value":                            {message{kind: "k", fields: []field{{"a", "", -1}}}, 1},
		"key twice, in order":                    {message{kind: "k", fields: []field{{"a", "2", -1}, {"a", "1", -1}}}, 1},
		"bytes, not text":                        {message{kind: "k", fields: []field{{"a", "=\xff\n=", -1}}}, 1},
		"descriptors":                            {message{kind: "k", fields: []field{{"@a", "x", 7}, {"b", "y", -1}, {"@a", "", 3}}}, 1},
		"more descriptors than one record takes": {many, 4},
		"a long value":                           {message{kind: "k", fields: []field{{"a", strings.Repeat("x", 100<<10), -1}}}, 1},
		"long values": {message{kind: "k", fields: []field{{"a", strings.Repeat("x", 100<<10), -1}, {"b", "1", -1},
			{"c", strings.Repeat("y", 100<<10), -1}, {"@d", "2", 4}}}, 3},
	} {
		records, err := c.m.encode()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(records) != c.records {
			t.Errorf("%s: got %d records, want %d", name, len(records), c.records)
		}
		if got := decode(t, records); got.kind != c.m.kind || !slices.Equal(got.fields, asSent(c.m)) {
			t.Errorf("%s: came back as something else", name)
		}
	}
}

func TestValueWithNULIsNotSent(t *testing.T) {
	m := message{kind: "k"}
	m.add("argument", "a\x00b")
	_, err := m.encode()
	checkError(t, "NUL", err, "message k: NUL in argument")
}

// TestRecordOfAnotherProtocolIsRefused: invariant I10, for control messages.
func TestRecordOfAnotherProtocolIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		data, want string
		fds        int
	}{
		"nothing":                   {"", "record of 0 bytes", 0},
		"too short":                 {".\x00", "record of 2 bytes", 0},
		"unknown first byte":        {"!k\x00", "is not of this protocol", 0},
		"text":                      {"READY=1\n", "is not of this protocol", 0},
		"no NUL at the end":         {".k\x00a=b", "is not of this protocol", 0},
		"no kind":                   {".\x00a=b\x00", `kind ""`, 0},
		"field without value":       {".k\x00a\x00", `field "a"`, 0},
		"empty field":               {".k\x00\x00", `field ""`, 0},
		"field without key":         {".k\x00=b\x00", `field "=b"`, 0},
		"descriptor without key":    {".k\x00@=b\x00", `field "@=b"`, 1},
		"descriptor for no field":   {".k\x00a=b\x00", "1 descriptors for 0 fields", 1},
		"field without descriptor":  {".k\x00@a=b\x00", "0 descriptors for 1 fields", 0},
		"one descriptor for two":    {".k\x00@a=b\x00@c=d\x00", "1 descriptors for 2 fields", 1},
		"two descriptors for one":   {".k\x00@a=b\x00c=d\x00", "2 descriptors for 1 fields", 2},
		"another kind in between":   {".other\x00a=b\x00", `kind "other" within message "k"`, 0},
		"another kind, descriptors": {".other\x00@a=b\x00", `within message "k"`, 1},
	} {
		m := message{}
		if strings.HasPrefix(name, "another kind") {
			m.kind = "k"
		}
		_, err := m.decodeRecord([]byte(c.data), make([]int, c.fds))
		checkError(t, name, err, c.want)
		if len(m.fields) != 0 {
			t.Errorf("%s: got fields %v, want none", name, m.fields)
		}
	}
}

func TestFieldsAreReadByKey(t *testing.T) {
	checkFDs(t)
	m := message{kind: "k"}
	m.add("a", "1")
	m.add("a", "2")
	m.addFD("server", "42", 5)
	if got := m.get("a"); got != "1" {
		t.Errorf("a: got %q, want the first", got)
	}
	if got := m.get("b"); got != "" {
		t.Errorf("b: got %q, want nothing", got)
	}
	if got := m.get("@server"); got != "42" {
		t.Errorf("@server: got %q, want %q", got, "42")
	}
	if got := m.takeFD("server"); got != 5 {
		t.Errorf("server: got descriptor %d, want 5", got)
	}
	if got := m.takeFD("server"); got != -1 {
		t.Errorf("server, again: got descriptor %d, want -1", got)
	}
	if got := m.takeFD("a"); got != -1 {
		t.Errorf("a: got descriptor %d, want -1", got)
	}
	m.close() // nothing is left to close
}

// FuzzDecodeRecord: whatever comes, each descriptor is in the message, once and
// in order, or after an error none is; and what was taken encodes to what came.
// Invariant I10.
func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte(".done\x00"), 0)
	f.Add([]byte(".k\x00@a=b\x00c=d\x00@e=\x00"), 2)
	f.Add([]byte("+k\x00@a=b\x00"), 1)
	f.Add([]byte(".k\x00@a=b\x00"), 2)
	f.Add([]byte(".k\x00=\x00"), 0)
	f.Add([]byte(".\x00@=\x00"), 1)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		var fds []int
		for i := range max(0, n%300) {
			fds = append(fds, 1_000_000+i) // only numbers: nothing is open there
		}
		var m message
		more, err := m.decodeRecord(data, fds)
		kept := untaken(m)
		if err != nil {
			if !oneLine(err) {
				t.Fatalf("%q: the error is %q", data, err)
			}
			if m.kind != "" || len(m.fields) != 0 {
				t.Fatalf("after %v: got %q with %d fields, want nothing", err, m.kind, len(m.fields))
			}
			return
		}
		if !slices.Equal(kept, fds) {
			t.Fatalf("%q: got descriptors %d, want %d", data, kept, fds)
		}
		again, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > recordSize || len(fds) > recordFDs {
			return // it would be sent in several records
		}
		if more {
			again[0].data[0] = moreFollow
		}
		if len(again) != 1 || !bytes.Equal(again[0].data, data) || !slices.Equal(again[0].fds, fds) {
			t.Fatalf("%q is encoded as %d records, %q", data, len(again), again[0].data)
		}
	})
}

// FuzzEncode: a message comes back as it was from however many records it takes,
// none of which is more than the kernel lets through. Invariant I10.
func FuzzEncode(f *testing.F) {
	f.Add("1", uint16(0), true, uint16(0), "")
	f.Add("=", uint16(254), true, uint16(100), "\xff")
	f.Add("a", uint16(299), false, uint16(40000), "\n")
	f.Add("a\x00b", uint16(1), false, uint16(32755), "")
	f.Add("", uint16(253), true, uint16(65535), "b")
	f.Fuzz(func(t *testing.T, value string, copies uint16, withFDs bool, size uint16, last string) {
		m := message{kind: "k"}
		for i := range int(copies % 300) {
			if withFDs {
				m.addFD("a", value, 1_000_000+i)
			} else {
				m.add("a", value)
			}
		}
		m.add("b", strings.Repeat("x", int(size)))
		m.addFD("c", last, 2_000_000)
		records, err := m.encode()
		if err != nil {
			if !strings.Contains(value+last, "\x00") {
				t.Fatal(err)
			}
			return
		}
		for _, r := range records {
			if len(r.fds) > recordFDs || len(r.data) > recordSize+int(size)+len(value)+len(last)+8 {
				t.Fatalf("a record of %d bytes and %d descriptors", len(r.data), len(r.fds))
			}
		}
		if got := decode(t, records); got.kind != m.kind || !slices.Equal(got.fields, asSent(m)) {
			t.Fatalf("came back as %d fields, want %d", len(got.fields), len(asSent(m)))
		}
	})
}
