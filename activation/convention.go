package activation

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Convention is a way of passing sockets on that was there before LISTEN_FDS, or was
// made for one server alone: variables that say which descriptors they are.
type Convention string

// A convention is all that is known of one. The manual's table comes from here, too.
type convention struct {
	name      Convention
	variables []string // all that belong to it; "#" stands for a number

	// parse finds the descriptors that a predecessor passes on.
	parse func(lookup) ([]int, error)

	// format is what a server reads. It is nil where servers read LISTEN_FDS
	// as well, which they have anyway.
	format func(sockets []bound, generation int) ([]string, error)

	readers, passers string // for the manual: who reads them, and when somebody passes sockets on
}

var conventions = []convention{
	{
		name: "gunicorn", variables: []string{"GUNICORN_FD", "GUNICORN_PID"},
		parse:   func(lookup lookup) ([]int, error) { return parseNumbers(lookup, "GUNICORN_FD") },
		passers: "gunicorn 20.1 at `SIGUSR2`",
	},
	{
		name: "nghttpx", variables: []string{"NGHTTPX_ACCEPT_#", "NGHTTPX_ORIG_PID"},
		parse: parseNghttpx, format: formatNghttpx,
		readers: "nghttpx 1.52", passers: "nghttpx 1.52 at `SIGUSR2`",
	},
	{
		name: "nginx", variables: []string{"NGINX"},
		parse: parseNginx, format: formatNginx,
		readers: "nginx 1.22", passers: "nginx 1.22 at `SIGUSR2`",
	},
	{
		name: "php-fpm", variables: []string{"FPM_SOCKETS", "FPM_SOCKETS_#"},
		parse: parsePHP, format: formatPHP,
		readers: "php-fpm 8.2", passers: "php-fpm 8.2 at `SIGUSR2`",
	},
	{
		name: "server-starter", variables: []string{"SERVER_STARTER_PORT", "SERVER_STARTER_GENERATION"},
		parse: parseStarter, format: formatStarter,
		readers: "Starman 0.40, Starlet 0.31, h2o 2.2", passers: "start_server 0.35 at its start and at `SIGHUP`",
	},
	{
		name: "unicorn", variables: []string{"UNICORN_FD"},
		parse:   func(lookup lookup) ([]int, error) { return parseNumbers(lookup, "UNICORN_FD") },
		passers: "unicorn 6.0 at `SIGUSR2`",
	},
}

// A lookup is as os.LookupEnv.
type lookup = func(string) (string, bool)

// A bound is a socket as conventions write it.
type bound struct {
	fd       int
	name     string // for errors
	datagram bool
	unix     bool
	address  string // HOST:PORT, with IPv6 in brackets, or an absolute path
}

// ParseExport takes the names of conventions that servers read, with commas between
// them. Errors do not repeat the text.
func ParseExport(text string) ([]Convention, error) {
	return parseConventions(text, func(c *convention) bool { return c.format != nil })
}

// ParseImport takes the names of conventions by which a predecessor passes sockets on,
// with commas between them. Errors do not repeat the text.
func ParseImport(text string) ([]Convention, error) {
	return parseConventions(text, func(*convention) bool { return true })
}

func parseConventions(text string, offered func(*convention) bool) (all []Convention, err error) {
	if text == "" {
		return nil, nil
	}
	for _, name := range strings.Split(text, ",") {
		c := Convention(name)
		if e := c.entry(); e == nil || !offered(e) {
			var names []string
			for i := range conventions {
				if offered(&conventions[i]) {
					names = append(names, string(conventions[i].name))
				}
			}
			return nil, fmt.Errorf("%q is not offered; hint: %s", name, strings.Join(names, ", "))
		}
		all = append(all, c)
	}
	return all, nil
}

func (c Convention) entry() *convention {
	for i := range conventions {
		if conventions[i].name == c {
			return &conventions[i]
		}
	}
	return nil
}

// Owns reports whether a variable belongs to the convention, so that it must not go on
// to whoever is not meant.
func (c Convention) Owns(variable string) bool {
	e := c.entry()
	return e != nil && slices.ContainsFunc(e.variables, func(v string) bool {
		prefix, numbered := strings.CutSuffix(v, "#")
		number, ok := strings.CutPrefix(variable, prefix)
		if !numbered {
			return v == variable
		}
		_, err := strconv.ParseUint(number, 10, 32)
		return ok && err == nil
	})
}

// Export is what a server finds in its environment that reads this convention, and gets
// the sockets from FirstFD on. Those that the convention has no word for are left out.
func (c Convention) Export(sockets []Socket, generation int) ([]string, error) {
	e := c.entry()
	if e == nil || e.format == nil {
		return nil, fmt.Errorf("export %s: unknown convention", c)
	}
	var all []bound
	for i, s := range sockets {
		if b, ok := s.bound(); ok {
			b.fd, b.name = FirstFD+i, s.Name
			all = append(all, b)
		}
	}
	env, err := e.format(all, generation)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", c, err)
	}
	return env, nil
}

// Import is [Inherited] for sockets that were passed on by conventions. They come under
// the convention's name and a number. A descriptor that is among those inherited
// already is not taken again. No variable is no error: then nobody handed over. Nothing
// tells for whom variables are meant, so that a descriptor has to be a socket, too.
func Import(all []Convention, inherited []Socket, lookup func(string) (string, bool)) (imported []Socket, err error) {
	known := map[int]bool{}
	for _, s := range inherited {
		known[s.FD] = true
	}
	for _, c := range all {
		fds, err := c.fds(lookup)
		if err != nil {
			return nil, fmt.Errorf("import %s: %w", c, err)
		}
		for i, fd := range fds {
			if known[fd] {
				continue
			}
			s := Socket{FD: fd, Name: fmt.Sprintf("%s-%d", c, i+1)}
			if err := s.claim(); err != nil {
				return nil, fmt.Errorf("import %s: descriptor %d %w", c, fd, err)
			}
			known[fd], imported = true, append(imported, s)
		}
	}
	return imported, nil
}

// fds are the descriptors that the variables name.
func (c Convention) fds(lookup lookup) ([]int, error) {
	e := c.entry()
	if e == nil {
		return nil, errors.New("unknown convention")
	}
	fds, err := e.parse(lookup)
	if err != nil {
		return nil, err
	}
	sorted := slices.Sorted(slices.Values(fds))
	for i, fd := range sorted {
		if i > 0 && sorted[i-1] == fd {
			return nil, fmt.Errorf("descriptor %d comes twice", fd)
		}
	}
	return fds, nil
}
