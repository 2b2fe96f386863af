package activation

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/flipexec/flipexec/notation"
)

// An option is one key of a spec. All that is known of it is in its entry in the
// table, from which the manual comes as well.
type option struct {
	name    string
	setting string // of systemd.socket(5), "" if it has none
	values  string // for the manual
	on      string // networks, each between blanks

	parse       func(o *option, text string) (value, error)
	least, most int // for parse

	when  when
	fixed fixity

	// set and get work on the descriptor or, for those of a file, on the path
	// of a socket. Without them the option is a number that setsockopt(2)
	// takes: v4, and on an IPv6 socket v6 instead, or if both is true as well.
	set    func(s Socket, v value) error
	get    func(s Socket) (value, error)
	v4, v6 sockopt
	both   bool
}

// A value is what stands behind "=": a number, or a name if that is not empty.
type value struct {
	n    int
	text string
}

func (v value) String() string {
	if v.text != "" {
		return v.text
	}
	return strconv.Itoa(v.n)
}

type sockopt struct{ level, name int }

// when an option is set in the life of a socket.
type when int

const (
	beforeBind when = iota // also with pipesize, which has no bind
	atCreation             // by socket(2), open(2) and mkdir(2)
	atListen
	onFile
)

// fixity is what a bound socket does to an option. A test asks the kernel.
type fixity int

const (
	takes   fixity = iota
	staysOn        // can be switched on, and not off again
	stays
	shared    // could be changed, and would change for the running server as well
	reopened  // a file is opened again instead
	forgotten // was for the moment of creation
)

// A setting is an option with its value.
type setting struct {
	*option
	value value
}

// Groups of networks, for the table.
const (
	onTCP    = " tcp tcp4 tcp6 "
	onUDP    = " udp udp4 udp6 "
	onIP     = onTCP + onUDP
	onStream = " unix unixpacket "
	onUnix   = onStream + " unixgram "
)

func (o *option) appliesTo(network string) bool {
	return strings.Contains(o.on, " "+network+" ")
}

// parseOptions takes what stands behind the "?" of a spec.
func parseOptions(network, text string) (settings []setting, err error) {
	if len(options) == 0 { // they are Linux's
		return nil, fmt.Errorf("options: %w", errors.ErrUnsupported)
	}
	for _, part := range strings.Split(text, "&") {
		key, given, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("option %q has no value; hint: ?KEY=VALUE, and a path cannot have a \"?\"", part)
		}
		o := optionNamed(key)
		if o == nil {
			return nil, unknownOption(network, key)
		}
		if !o.appliesTo(network) {
			return nil, fmt.Errorf("option %s does not apply to %s", key, network)
		}
		if slices.ContainsFunc(settings, func(s setting) bool { return s.option == o }) {
			return nil, fmt.Errorf("option %s comes twice", key)
		}
		v, err := o.parse(o, given)
		if err != nil {
			return nil, fmt.Errorf("option %s: %q %w", key, given, err)
		}
		settings = append(settings, setting{o, v})
	}
	return settings, nil
}

func optionNamed(name string) *option {
	for i := range options {
		if options[i].name == name {
			return &options[i]
		}
	}
	return nil
}

// checkSettings refuses what contradicts the rest of the spec.
func (s Spec) checkSettings(settings []setting) error {
	for _, set := range settings {
		switch {
		case set.when == onFile && s.path() == "", set.name == "directorymode" && s.path() == "":
			return fmt.Errorf("option %s does not apply to an abstract name", set.name)
		case set.name == "v6only" && s.host.Is4():
			return fmt.Errorf("option %s does not apply to an IPv4 address", set.name)
		case set.name == "protocol" && strings.HasPrefix(s.Network, "udp") != (set.value.n == protocolUDPLite):
			return fmt.Errorf("option %s: %s does not apply to %s", set.name, set.value, s.Network)
		}
	}
	return nil
}

// settings are the options that s gives, which ParseSpec has checked.
func (s Spec) settings() []setting {
	if s.Options == "" {
		return nil
	}
	settings, err := parseOptions(s.Network, s.Options)
	if err != nil {
		return nil // no Spec of ParseSpec's
	}
	return settings
}

// given is the value that s gives to the option of that name.
func (s Spec) given(name string) (v value, ok bool) {
	for _, set := range s.settings() {
		if set.name == name {
			return set.value, true
		}
	}
	return v, false
}

// What options are parsed by.

func parseBool(_ *option, text string) (v value, err error) {
	on, err := notation.Bool(text)
	if on {
		v.n = 1
	}
	return v, err
}

func parseNumber(o *option, text string) (v value, err error) {
	v.n, err = notation.Int(text, o.least, o.most)
	return v, err
}

func parseSize(o *option, text string) (v value, err error) {
	v.n, err = notation.Size(text, o.least, o.most)
	return v, err
}

func parseMode(_ *option, text string) (v value, err error) {
	v.n, err = notation.Mode(text)
	return v, err
}

func parseAccount(_ *option, text string) (value, error) {
	return value{text: text}, notation.CheckAccount(text)
}
