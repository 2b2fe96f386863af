package handoff

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A field is one "key=value" of a message. A key that begins with "@" has a
// descriptor, also when the reader does not know the key, so that later versions
// may add such fields.
type field struct {
	key, value string
	fd         int // -1 if it has none, or if it was taken
}

// A message is what two processes of flipexec tell each other: a kind, fields in
// order (a key may repeat), and descriptors. Values are bytes without NUL,
// because arguments and paths need not be text.
type message struct {
	kind   string
	fields []field
}

// Records of a SOCK_SEQPACKET socket carry a message: one record, or several
// with the same kind when it is large.
//
//	("." | "+") kind NUL *( key "=" value NUL )       "+": another record follows
const (
	lastRecord = '.'
	moreFollow = '+'

	recordSize = 32 << 10 // a new record is begun behind this many bytes
	recordFDs  = 253      // SCM_MAX_FD, unix(7)

	maxMessage = 8 << 20 // the kernel's bound on an argument list is 6 MiB

	// fieldDescriptors is alone in the first record of a message with more than a few
	// descriptors: how many they are.
	fieldDescriptors = "descriptors"
)

type record struct {
	data []byte
	fds  []int
}

func (m *message) add(key, value string) { m.fields = append(m.fields, field{key, value, -1}) }

// addFD adds a descriptor, which stays the sender's.
func (m *message) addFD(key, value string, fd int) {
	m.fields = append(m.fields, field{"@" + key, value, fd})
}

// get is the value of the first field called key, "" if there is none.
func (m message) get(key string) string {
	for _, f := range m.fields {
		if f.key == key {
			return f.value
		}
	}
	return ""
}

// number reads a value that is a positive number: in its one spelling, because a
// process ID that was guessed is signalled later.
func number(text string) (int, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n <= 0 || strconv.FormatInt(n, 10) != text {
		return 0, errors.New("is no number")
	}
	return int(n), nil
}

// takeFD takes the descriptor of the first field called "@"+key out of the
// message, or returns -1. It is the caller's from then on.
func (m *message) takeFD(key string) int {
	for i := range m.fields {
		if m.fields[i].key == "@"+key {
			return m.fields[i].take()
		}
	}
	return -1
}

func (f *field) take() int {
	fd := f.fd
	f.fd = -1
	return fd
}

// close closes what was not taken.
func (m message) close() {
	for _, f := range m.fields {
		if f.fd >= 0 {
			unix.Close(f.fd)
		}
	}
}

// descriptors counts those of the message.
func (m message) descriptors() (n int) {
	for _, f := range m.fields {
		if f.key[0] == '@' {
			n++
		}
	}
	return n
}

// encode splits m into records.
func (m message) encode() ([]record, error) {
	start := func() record { return record{data: append([]byte{lastRecord}, m.kind+"\x00"...)} }
	var records []record
	r := start()
	next := func() {
		r.data[0] = moreFollow
		records, r = append(records, r), start()
	}
	if n := m.descriptors(); n > fewDescriptors {
		r.data = fmt.Appendf(r.data, "%s=%d\x00", fieldDescriptors, n)
		next()
	}
	for _, f := range m.fields {
		if strings.ContainsRune(f.value, 0) {
			return nil, fmt.Errorf("message %s: NUL in %s", m.kind, f.key)
		}
		if len(r.data) > recordSize || len(r.fds) == recordFDs {
			next()
		}
		r.data = append(append(append(append(r.data, f.key...), '='), f.value...), 0)
		if f.key[0] == '@' {
			r.fds = append(r.fds, f.fd)
		}
	}
	return append(records, r), nil
}

// decodeRecord adds a record to m, which is empty before the first, and reports
// whether another one follows. The descriptors become m's, or after an error stay
// the caller's.
func (m *message) decodeRecord(data []byte, fds []int) (more bool, err error) {
	if len(data) < 3 || data[0] != lastRecord && data[0] != moreFollow || data[len(data)-1] != 0 {
		return false, fmt.Errorf("record of %d bytes is not of this protocol", len(data))
	}
	kind, rest, follows := strings.Cut(string(data[1:len(data)-1]), "\x00")
	if m.kind != "" && m.kind != kind || kind == "" {
		return false, fmt.Errorf("record of kind %q within message %q", kind, m.kind)
	}
	fields, taken := m.fields, 0
	for follows {
		var text string
		text, rest, follows = strings.Cut(rest, "\x00")
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" || key == "@" {
			return false, fmt.Errorf("message %q: field %q", kind, text)
		}
		f := field{key, value, -1}
		if key[0] == '@' && taken < len(fds) {
			f.fd = fds[taken]
		}
		if key[0] == '@' {
			taken++
		}
		fields = append(fields, f)
	}
	if taken != len(fds) {
		return false, fmt.Errorf("message %q: %d descriptors for %d fields", kind, len(fds), taken)
	}
	m.kind, m.fields = kind, fields
	return data[0] == moreFollow, nil
}
