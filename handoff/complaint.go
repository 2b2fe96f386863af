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

// complaints are the kinds that were printed, and when.
type complaints map[string]time.Time

// due reports whether a complaint is to be printed now.
func (c *complaints) due(kind string, now time.Time) bool {
	maps.DeleteFunc(*c, func(_ string, said time.Time) bool { return now.Sub(said) >= silence })
	if _, said := (*c)[kind]; said || len(*c) == maxComplaints {
		return false
	}
	if *c == nil {
		*c = complaints{}
	}
	(*c)[kind] = now
	return true
}

// complain is say for what others can cause as often as they like.
func (k *keeper) complain(kind, format string, args ...any) {
	if k.complaints.due(kind, time.Now()) {
		k.say(format, args...)
	}
}
