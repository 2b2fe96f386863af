// Package notation reads values as people write them, on the command line and in
// the options of a socket. Its errors do not repeat the text; whoever knows what the
// value is for does.
package notation

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration takes Go's notation, or whole seconds as systemd does.
func Duration(text string, least time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if n, nerr := strconv.ParseUint(text, 10, 31); nerr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < least {
		return 0, fmt.Errorf("is no duration; hint: 500ms, 30s, 2m (at least %v)", least)
	}
	return d, nil
}

// Bool takes the words of parse_boolean, systemd src/basic/parse-util.c.
func Bool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "1", "yes", "y", "true", "t", "on":
		return true, nil
	case "0", "no", "n", "false", "f", "off":
		return false, nil
	}
	return false, errors.New("is neither yes nor no")
}

// Int takes a decimal number within bounds.
func Int(text string, least, most int) (int, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n < uint64(least) || n > uint64(most) {
		return 0, fmt.Errorf("is no number from %d to %d", least, most)
	}
	return int(n), nil
}

// Size takes bytes, or with K, M or G behind them a multiple of 1024, as systemd does.
func Size(text string, least, most int) (int, error) {
	number, shift := text, 0
	if i := strings.IndexByte("KMG", lastByte(text)); i >= 0 {
		number, shift = text[:len(text)-1], 10*(i+1)
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n<<shift < uint64(least) || n<<shift > uint64(most) {
		return 0, fmt.Errorf("is no size from %d to %d; hint: 65536, 64K, 1M", least, most)
	}
	return int(n << shift), nil
}

func lastByte(text string) byte {
	if text == "" {
		return 0
	}
	return text[len(text)-1]
}

// Mode takes the permissions of a file, in octal.
func Mode(text string) (int, error) {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 {
		return 0, errors.New("is no mode in octal; hint: 0660")
	}
	return int(n), nil
}

// Nearest is the word of all that text is most likely a slip for: the one that fewest
// changes of a letter lead to.
func Nearest(text string, all []string) (nearest string) {
	least := -1
	for _, word := range all {
		if d := distance(text, word); least < 0 || d < least {
			nearest, least = word, d
		}
	}
	return nearest
}

// distance counts the letters to insert, to remove or to replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
