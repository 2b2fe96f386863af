package handoff

import (
	"maps"
	"time"
)

// What strangers do must not fill the journal: of each kind of complaint one line
// in silence, and not more kinds than this.
const (
	silence       = time.Minute
	maxComplaints = 16
)

// complaints are what was printed, and when.
type complaints struct {
	about string // stands before every line
	said  map[string]time.Time
}

// due reports whether a complaint is to be printed now.
func (c *complaints) due(kind string, now time.Time) bool {
	maps.DeleteFunc(c.said, func(_ string, said time.Time) bool { return now.Sub(said) >= silence })
	if _, said := c.said[kind]; said || len(c.said) == maxComplaints {
		return false
	}
	if c.said == nil {
		c.said = map[string]time.Time{}
	}
	c.said[kind] = now
	return true
}

// complain is say for what others can cause as often as they like.
func (c *complaints) complain(kind, format string, args ...any) {
	if c.due(kind, time.Now()) {
		say(c.about+format, args...)
	}
}
