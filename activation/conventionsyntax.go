package activation

import (
	"fmt"
	"strconv"
	"strings"
)

// How each convention is read and written, by what the servers themselves do.

// parseNumbers takes a list of descriptors: 3,4.
func parseNumbers(lookup lookup, variable string) ([]int, error) {
	value, _ := lookup(variable)
	return parseParts(variable, value, split(value, ","), itself)
}

// parseNginx takes 3;4; and nothing without the last semicolon, which nginx passes over.
func parseNginx(lookup lookup) ([]int, error) {
	const variable = "NGINX"
	value, _ := lookup(variable)
	list, ok := strings.CutSuffix(value, ";")
	if value != "" && !ok {
		return nil, fmt.Errorf("%s=%q does not end with \";\"", variable, value)
	}
	return parseParts(variable, value, split(list, ";"), itself)
}

func formatNginx(sockets []bound, _ int) ([]string, error) {
	var value strings.Builder
	for _, s := range sockets {
		fmt.Fprintf(&value, "%d;", s.fd)
	}
	return []string{"NGINX=" + value.String()}, nil
}

// parseStarter takes ADDRESS=3;ADDRESS=4.
func parseStarter(lookup lookup) ([]int, error) {
	const variable = "SERVER_STARTER_PORT"
	value, _ := lookup(variable)
	return parseParts(variable, value, split(value, ";"), afterAddress)
}

// afterAddress is the descriptor in ADDRESS=3. A path may have a "=", too.
func afterAddress(part string) string {
	if i := strings.LastIndexByte(part, '='); i >= 0 {
		return part[i+1:]
	}
	return ""
}

func formatStarter(sockets []bound, generation int) ([]string, error) {
	parts, err := addresses(sockets, "SERVER_STARTER_PORT", "=;")
	return []string{
		"SERVER_STARTER_PORT=" + strings.Join(parts, ";"),
		"SERVER_STARTER_GENERATION=" + strconv.Itoa(generation),
	}, err
}

// addresses are ADDRESS=3 for each stream socket. The readers cut at the first
// character of forbidden, whatever a path means by it.
func addresses(sockets []bound, variable, forbidden string) (parts []string, err error) {
	for _, s := range sockets {
		if s.datagram {
			continue
		}
		if s.unix && strings.ContainsAny(s.address, forbidden) {
			return nil, fmt.Errorf("socket %s: %s cannot say %q; hint: a path without any of %q", s.name, variable, s.address, forbidden)
		}
		parts = append(parts, s.address+"="+strconv.Itoa(s.fd))
	}
	return parts, nil
}

// parsePHP takes ADDRESS=3,ADDRESS=4, and more in FPM_SOCKETS_1 and so on.
func parsePHP(lookup lookup) (fds []int, err error) {
	variable := "FPM_SOCKETS"
	for i := 1; ; i++ {
		value, _ := lookup(variable)
		more, err := parseParts(variable, value, split(value, ","), afterAddress)
		if err != nil || len(more) == 0 {
			return fds, err
		}
		fds = append(fds, more...)
		variable = fmt.Sprintf("FPM_SOCKETS_%d", i)
	}
}

func formatPHP(sockets []bound, _ int) ([]string, error) {
	parts, err := addresses(sockets, "FPM_SOCKETS", "=,:") // with a ":" it is no path to php-fpm
	return []string{"FPM_SOCKETS=" + strings.Join(parts, ",")}, err
}

// parseNghttpx takes tcp,3 and unix,4,/path, each in a variable of its own.
func parseNghttpx(lookup lookup) (fds []int, err error) {
	for i := 1; ; i++ {
		variable := acceptVariable(i)
		value, _ := lookup(variable)
		if value == "" {
			return fds, nil
		}
		parts := strings.SplitN(value, ",", 3)
		tcp, unix := parts[0] == "tcp" && len(parts) == 2, parts[0] == "unix" && len(parts) == 3
		if !tcp && !unix {
			return nil, fmt.Errorf("%s=%q is neither tcp,FD nor unix,FD,PATH", variable, value)
		}
		fd, err := parseFD(variable, value, parts[1])
		if err != nil {
			return nil, err
		}
		fds = append(fds, fd)
	}
}

func formatNghttpx(sockets []bound, _ int) (env []string, err error) {
	for _, s := range sockets {
		if s.datagram {
			continue
		}
		value := "tcp," + strconv.Itoa(s.fd)
		if s.unix {
			value = "unix," + strconv.Itoa(s.fd) + "," + s.address
		}
		env = append(env, acceptVariable(len(env)+1)+"="+value)
	}
	return env, nil
}

func acceptVariable(n int) string { return fmt.Sprintf("NGHTTPX_ACCEPT_%d", n) }

// split is strings.Split, but that there is nothing in "".
func split(list, separator string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, separator)
}

func itself(part string) string { return part }

// parseParts takes the descriptor out of each part of a variable.
func parseParts(variable, value string, parts []string, descriptor func(part string) string) (fds []int, err error) {
	for _, part := range parts {
		fd, err := parseFD(variable, value, descriptor(part))
		if err != nil {
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func parseFD(variable, value, text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	switch {
	case err != nil || n > maxFDs:
		return 0, fmt.Errorf("%s=%q: %q is no descriptor", variable, value, text)
	case n < FirstFD:
		return 0, fmt.Errorf("%s=%q: descriptor %d is for input or output", variable, value, n)
	}
	return int(n), nil
}
