package activation

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/flipexec/flipexec/notation"
)

func unknownOption(network, key string) error {
	var known []string
	for i := range options {
		if options[i].appliesTo(network) {
			known = append(known, options[i].name)
		}
	}
	if len(known) == 0 {
		return fmt.Errorf("unknown option %q; hint: %s takes none here", key, network)
	}
	return fmt.Errorf("unknown option %q; hint: %s", key, notation.Nearest(key, known))
}

// parseSeconds takes a duration of whole seconds, which is all that the kernel keeps.
func parseSeconds(o *option, text string) (value, error) {
	d, err := notation.Duration(text, time.Duration(o.least)*time.Second)
	if err != nil {
		return value{}, err
	}
	if d%time.Second != 0 || d > time.Duration(o.most)*time.Second {
		return value{}, fmt.Errorf("is no whole number of seconds up to %d", o.most)
	}
	return value{n: int(d / time.Second)}, nil
}

// parseBacklog takes all that systemd does; listen(2) takes a signed number.
func parseBacklog(_ *option, text string) (value, error) {
	n, err := parseUint32(text)
	return value{n: int(min(n, math.MaxInt32))}, err
}

// parseAnyBase takes a decimal number, or a hexadecimal one behind 0x.
func parseAnyBase(text string, most uint32) (value, error) {
	digits, base := text, 10
	if after, ok := strings.CutPrefix(text, "0x"); ok {
		digits, base = after, 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n > uint64(most) {
		return value{}, fmt.Errorf("is no number from 0 to %d", most)
	}
	return value{n: int(n)}, nil
}

func parseMark(_ *option, text string) (value, error) {
	return parseAnyBase(text, math.MaxUint32)
}

func parseTOS(_ *option, text string) (value, error) {
	switch text { // IPTOS_* of netinet/ip.h
	case "low-delay":
		return value{n: 0x10}, nil
	case "throughput":
		return value{n: 0x08}, nil
	case "reliability":
		return value{n: 0x04}, nil
	case "low-cost":
		return value{n: 0x02}, nil
	}
	v, err := parseAnyBase(text, 255)
	if err != nil {
		err = errors.New("is neither low-delay, throughput, reliability, low-cost nor a number from 0 to 255")
	}
	return v, err
}

// The timestamps that a socket can have.
const (
	timestampsOff = iota
	timestampsUS
	timestampsNS
)

func parseTimestamping(_ *option, text string) (value, error) {
	switch text {
	case "off":
		return value{n: timestampsOff}, nil
	case "us", "usec", "μs":
		return value{n: timestampsUS}, nil
	case "ns", "nsec":
		return value{n: timestampsNS}, nil
	}
	return value{}, errors.New("is neither off, us nor ns")
}

// parseWord takes a name that the kernel is to know.
func parseWord(_ *option, text string) (value, error) {
	if text == "" || len(text) > maxWord || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return value{}, fmt.Errorf("is no name of at most %d letters", maxWord)
	}
	return value{text: text}, nil
}

// maxWord is IFNAMSIZ and TCP_CA_NAME_MAX, less the closing NUL.
const maxWord = 15

func parseDevice(o *option, text string) (value, error) {
	if strings.ContainsAny(text, "/:") {
		return value{}, errors.New("is no name of an interface")
	}
	return parseWord(o, text)
}
