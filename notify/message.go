package notify

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxSize is the size in bytes of the largest datagram that systemd reads
// (NOTIFY_BUFFER_MAX, that is PIPE_BUF). It ignores a longer one as a whole.
const MaxSize = 4096

// separators end a field. systemd's NEWLINE holds both characters: a carriage
// return inside a value would start a second field there.
const separators = "\n\r"

// Field is one assignment of a message, such as READY=1.
type Field struct{ Key, Value string }

// Message is the fields of one datagram in the order in which they were sent.
// A key may occur more than once.
type Message []Field

// Parse reads a datagram as systemd does: fields end with a newline or a
// carriage return, one NUL at the very end is allowed, empty lines and lines
// without a key and '=' are ignored. It refuses more than [MaxSize] bytes and
// a NUL anywhere else. The message does not refer to b, and is nil when no
// field was found.
func Parse(b []byte) (Message, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("parse message: longer than %d bytes", MaxSize)
	}
	b = bytes.TrimSuffix(b, []byte{0})
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return nil, fmt.Errorf("parse message: NUL at byte %d", i)
	}
	var m Message
	for line := range strings.FieldsFuncSeq(string(b), isSeparator) {
		key, value, ok := strings.Cut(line, "=")
		if ok && key != "" {
			m = append(m, Field{key, value})
		}
	}
	return m, nil
}

func isSeparator(r rune) bool { return strings.ContainsRune(separators, r) }

// Get returns the value of the last field with this key. sd_notify(3) does not
// say which one counts, and systemd's own choice differs between fields and
// versions; a sender does well not to repeat a key.
func (m Message) Get(key string) (value string, ok bool) {
	for _, f := range m {
		if f.Key == key {
			value, ok = f.Value, true
		}
	}
	return value, ok
}

// Is reports whether some field is exactly key=value, as in Is("READY", "1").
func (m Message) Is(key, value string) bool {
	for _, f := range m {
		if f.Key == key && f.Value == value {
			return true
		}
	}
	return false
}

// Encode returns the message as a datagram, such that [Parse] gives it back.
// It refuses what a manager would ignore or read as something else: a message
// without fields or longer than [MaxSize] bytes, an empty key, '=' in a key, a
// line end or NUL in either part, a value that ends in a backslash.
func (m Message) Encode() ([]byte, error) {
	if len(m) == 0 {
		return nil, errors.New("encode message: no fields")
	}
	var b []byte
	for i, f := range m {
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("encode message: field %q: %w", f.Key, err)
		}
		if i > 0 {
			b = append(b, '\n')
		}
		b = append(b, f.Key...)
		b = append(b, '=')
		b = append(b, f.Value...)
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("encode message: %d bytes, at most %d are read", len(b), MaxSize)
	}
	return b, nil
}

// check says why the field cannot be sent. A backslash at the end of a value
// is no part of the protocol, but systemd splits lines with its word parser
// (strv_split_newlines, extract_first_word), in which a backslash takes the
// newline after it into the value, and fails the whole message at its end.
func (f Field) check() error {
	switch {
	case f.Key == "":
		return errors.New("empty key")
	case strings.Contains(f.Key, "="):
		return errors.New("'=' in the key")
	case strings.ContainsAny(f.Key, separators+"\x00"), strings.ContainsAny(f.Value, separators+"\x00"):
		return errors.New("line end or NUL inside")
	case strings.HasSuffix(f.Value, `\`):
		return errors.New("value ends in a backslash")
	}
	return nil
}

// String returns the fields on one line for a log, separated by spaces. Keys
// and values that hold anything but plain printable characters are quoted as
// in Go.
func (m Message) String() string {
	var b strings.Builder
	for i, f := range m {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(quote(f.Key))
		b.WriteByte('=')
		b.WriteString(quote(f.Value))
	}
	return b.String()
}

func quote(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` || strings.Contains(s, " ") {
		return q
	}
	return s
}
