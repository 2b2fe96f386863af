package notify_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/notify"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     notify.Message
	}{
		{"nothing", "", nil},
		{"one field", "READY=1", notify.Message{{"READY", "1"}}},
		{"newline at the end", "READY=1\n", notify.Message{{"READY", "1"}}},
		{"NUL at the end", "READY=1\x00", notify.Message{{"READY", "1"}}},
		{"only a NUL", "\x00", nil},
		{"order and repetition", "A=1\nB=2\nA=3", notify.Message{{"A", "1"}, {"B", "2"}, {"A", "3"}}},
		{"empty lines", "\n\nA=1\n\n\nB=2\n\n", notify.Message{{"A", "1"}, {"B", "2"}}},
		{"carriage return ends a line", "A=1\r\nB=2\rC=3", notify.Message{{"A", "1"}, {"B", "2"}, {"C", "3"}}},
		{"line without =", "READY\nA=1", notify.Message{{"A", "1"}}},
		{"line without a key", "=1\nA=1", notify.Message{{"A", "1"}}},
		{"empty value", "STATUS=", notify.Message{{"STATUS", ""}}},
		{"= in the value", "STATUS=a=b", notify.Message{{"STATUS", "a=b"}}},
		{"spaces are kept", " A = 1 ", notify.Message{{" A ", " 1 "}}},
		{"not UTF-8", "STATUS=\xff\xfe", notify.Message{{"STATUS", "\xff\xfe"}}},
		{"largest", "A=" + strings.Repeat("x", notify.MaxSize-2), notify.Message{{"A", strings.Repeat("x", notify.MaxSize-2)}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := notify.Parse([]byte(tc.in))
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("Parse(%q) = %q, %v, want %q", tc.in, got, err, tc.want)
			}
		})
	}
}

// TestParseRefuses: invariant I10, for datagrams.
func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"NUL inside", "A=1\x00B=2", "parse message: NUL at byte 3"},
		{"two NULs at the end", "A=1\x00\x00", "parse message: NUL at byte 3"},
		{"too long", "A=" + strings.Repeat("x", notify.MaxSize-1), "parse message: longer than 4096 bytes"},
		{"too long by the NUL", "A=" + strings.Repeat("x", notify.MaxSize-2) + "\x00", "parse message: longer than 4096 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := notify.Parse([]byte(tc.in))
			if err == nil || err.Error() != tc.want || m != nil {
				t.Errorf("Parse = %q, %v, want the error %q", m, err, tc.want)
			}
		})
	}
}

func TestParsedMessageOutlivesItsBuffer(t *testing.T) {
	b := []byte("READY=1")
	m, err := notify.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !m.Is("READY", "1") {
		t.Errorf("after the buffer was cleared, got %q", m)
	}
}

func TestGetTakesTheLastAndIsTakesAny(t *testing.T) {
	m := notify.Message{{"MAINPID", "1"}, {"READY", "1"}, {"MAINPID", "2"}}
	if got, ok := m.Get("MAINPID"); got != "2" || !ok {
		t.Errorf("Get(MAINPID) = %q, %v, want %q", got, ok, "2")
	}
	if got, ok := m.Get("STATUS"); got != "" || ok {
		t.Errorf("Get(STATUS) = %q, %v, want nothing", got, ok)
	}
	for _, tc := range []struct {
		key, value string
		want       bool
	}{{"READY", "1", true}, {"MAINPID", "1", true}, {"MAINPID", "2", true}, {"READY", "", false}, {"ready", "1", false}} {
		if got := m.Is(tc.key, tc.value); got != tc.want {
			t.Errorf("Is(%q, %q) = %v, want %v", tc.key, tc.value, got, tc.want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		m    notify.Message
		want string
	}{
		{"no fields", nil, "encode message: no fields"},
		{"empty key", notify.Message{{"", "1"}}, `encode message: field "": empty key`},
		{"= in the key", notify.Message{{"A=B", "1"}}, `encode message: field "A=B": '=' in the key`},
		{"newline in the key", notify.Message{{"A\nB", "1"}}, `encode message: field "A\nB": line end or NUL inside`},
		{"newline in the value", notify.Message{{"STATUS", "x\nREADY=1"}}, `encode message: field "STATUS": line end or NUL inside`},
		{"carriage return in the value", notify.Message{{"STATUS", "x\rREADY=1"}}, `encode message: field "STATUS": line end or NUL inside`},
		{"NUL in the value", notify.Message{{"A", "\x00"}}, `encode message: field "A": line end or NUL inside`},
		{"backslash before the next field", notify.Message{{"STATUS", `C:\`}, {"READY", "1"}}, `encode message: field "STATUS": value ends in a backslash`},
		{"too long", notify.Message{{"A", strings.Repeat("x", notify.MaxSize-1)}}, "encode message: 4097 bytes, at most 4096 are read"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, err := tc.m.Encode()
			if err == nil || err.Error() != tc.want || b != nil {
				t.Errorf("Encode = %q, %v, want the error %q", b, err, tc.want)
			}
		})
	}
}

func TestStringQuotesWhatALogWouldMisread(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		m          notify.Message
	}{
		{"plain", "MAINPID=12 READY=1", notify.Message{{"MAINPID", "12"}, {"READY", "1"}}},
		{"space", `STATUS="3 workers" READY=1`, notify.Message{{"STATUS", "3 workers"}, {"READY", "1"}}},
		{"quote", `STATUS="\"a\""`, notify.Message{{"STATUS", `"a"`}}},
		{"terminal escape", `STATUS="\x1b[2J"`, notify.Message{{"STATUS", "\x1b[2J"}}},
		{"not UTF-8 in the key", `"\xff"=1`, notify.Message{{"\xff", "1"}}},
		{"letters beyond ASCII", "STATUS=läuft", notify.Message{{"STATUS", "läuft"}}},
		{"empty value", "STATUS=", notify.Message{{"STATUS", ""}}},
		{"no fields", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.m.String(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// FuzzParse checks that no datagram crashes the parser, and that what it
// accepts can be sent on unchanged: invariant I10.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "READY=1\nSTATUS=up\n", "A=1\r\nB\n=\n\x00", "A=\\\nB=1", "\xff=\x00\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := notify.Parse(in)
		if err != nil {
			if m != nil {
				t.Fatalf("Parse(%q) = %q with the error %v", in, m, err)
			}
			return
		}
		b, err := m.Encode()
		refusable := len(m) == 0
		for _, f := range m {
			refusable = refusable || strings.HasSuffix(f.Value, `\`)
		}
		if refusable != (err != nil) {
			t.Fatalf("Encode(Parse(%q)): %v", in, err)
		}
		if err == nil {
			roundTrip(t, m, b)
		}
	})
}

// FuzzEncode checks that whatever can be encoded is parsed to the same fields,
// so that no value can smuggle in a field of its own: invariant I10.
func FuzzEncode(f *testing.F) {
	f.Add("READY", "1", "STATUS", "a b")
	f.Add("A", "x\nREADY=1", "B", "\r")
	f.Add("A=", "", "", "=")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		m := notify.Message{{k1, v1}, {k2, v2}}
		if b, err := m.Encode(); err == nil {
			roundTrip(t, m, b)
		}
	})
}

func roundTrip(t *testing.T, m notify.Message, b []byte) {
	t.Helper()
	got, err := notify.Parse(b)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("Parse(%q) = %q, %v, want %q", b, got, err, m)
	}
	if s := m.String(); strings.ContainsAny(s, "\n\r\x00\x1b") {
		t.Fatalf("String() = %q", s)
	}
}

func ExampleMessage_String() {
	m, err := notify.Parse([]byte("READY=1\nSTATUS=3 workers\n"))
	fmt.Println(m, err)
	// Output: READY=1 STATUS="3 workers" <nil>
}
