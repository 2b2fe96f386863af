package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

var (
	errEOF = &failure{kind: EOF, text: "closed without an answer", unanswered: true}

	headerEnd = []byte("\r\n\r\n")
	lineEnd   = []byte("\r\n")
)

// parse reads the status line and the headers that matter.
func (c *conn) parse(head []byte) (status string, length int, err error) {
	line, rest, _ := bytes.Cut(head, lineEnd)
	version, after, _ := bytes.Cut(line, []byte(" "))
	code, _, _ := bytes.Cut(after, []byte(" "))
	if string(version) != "HTTP/1.1" || len(code) != 3 {
		return "", 0, garbled("status line %q", line)
	}
	length = -1
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, lineEnd)
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return "", 0, garbled("content length %q", value)
			}
		case bytes.EqualFold(name, []byte("X-Pid")):
			c.pid = value
		case bytes.EqualFold(name, []byte("Connection")):
			c.last = bytes.EqualFold(value, []byte("close"))
		}
	}
	if length < 0 {
		return "", 0, garbled("no content length")
	}
	if string(code) == "200" {
		return "200", length, nil // not a new string for each
	}
	return string(code), length, nil
}

// readFailure is for an answer that ends after got bytes.
func readFailure(err, werr error, got int) error {
	switch {
	case !errors.Is(err, io.EOF):
		k := kind(err)
		return &failure{kind: k, text: err.Error(), unanswered: got == 0 && k == Reset}
	case got > 0:
		return garbled("answer cut short")
	case werr != nil:
		return &failure{kind: kind(werr), text: werr.Error(), unanswered: true}
	}
	return errEOF
}

func garbled(format string, args ...any) error {
	return &failure{kind: Garbled, text: fmt.Sprintf(format, args...)}
}
