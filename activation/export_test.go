package activation

import (
	"fmt"
	"strings"
)

// NewPassed is what Take makes of a process's sockets.
func NewPassed(sockets ...Socket) *Passed { return &Passed{sockets} }

// OptionNames are the options that there are.
func OptionNames() (names []string) {
	for i := range options {
		names = append(names, options[i].name)
	}
	return names
}

// OptionNow is what the kernel says of an option.
func OptionNow(s Socket, spec Spec, name string) (string, error) {
	s.Spec = spec.String()
	v, err := optionNamed(name).now(s)
	return v.String(), err
}

// SettingOf is the setting of systemd.socket(5) that an option has its meaning from.
func SettingOf(name string) string { return optionNamed(name).setting }

// ManualRow is the row of the manual's table for an option.
func ManualRow(name string) string {
	o := optionNamed(name)
	reload := map[fixity]string{takes: "changes", staysOn: "can be switched on; off needs a restart", stays: "needs a restart", shared: "needs a restart",
		reopened: "the file is opened again", forgotten: "for new directories"}[o.fixed]
	setting := "–"
	if o.setting != "" {
		setting = "`" + o.setting + "=`"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s |", o.name, setting, o.values, onText(o.on), reload)
}

// ConventionRows is the manual's table of conventions.
func ConventionRows() (rows []string) {
	for _, c := range conventions {
		readers := "–"
		if c.readers != "" {
			readers = c.readers
		}
		rows = append(rows, fmt.Sprintf("| `%s` | `%s` | %s | %s |", c.name, strings.Join(c.variables, "` `"), readers, c.passers))
	}
	return rows
}

func onText(on string) string {
	on = strings.NewReplacer(onTCP, " tcp* ", onUDP, " udp* ").Replace(on)
	on = strings.Replace(on, onUnix, " unix* ", 1)
	return strings.Join(strings.Fields(on), " ")
}

// StoreNameOf is the name of a socket in the manager's store.
func StoreNameOf(socket, dev, ino uint64, name string) string {
	return entry{socket, dev, ino, name}.String()
}

// ParseStoreName is its opposite.
func ParseStoreName(text string) (socket, dev, ino uint64, name string, ok bool) {
	e, ok := parseEntry(text)
	return e.socket, e.dev, e.ino, e.name, ok
}
