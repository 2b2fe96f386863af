package handoff

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/flipexec/flipexec/activation"
)

func (o *Options) setExport(text string) (err error) {
	o.Export, err = addConventions(o.Export, text, activation.ParseExport)
	return err
}

func (o *Options) setImport(text string) (err error) {
	o.Import, err = addConventions(o.Import, text, activation.ParseImport)
	return err
}

func addConventions(all []activation.Convention, text string, parse func(string) ([]activation.Convention, error)) ([]activation.Convention, error) {
	more, err := parse(text)
	for _, c := range more {
		if slices.Contains(all, c) {
			return nil, fmt.Errorf("%q comes twice", c)
		}
		all = append(all, c)
	}
	return all, err
}

// conventionList is what --import takes.
func conventionList(all []activation.Convention) string {
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = string(c)
	}
	return strings.Join(names, ",")
}

// takeSockets are the sockets that this process was passed, by systemd's protocol and
// by other conventions. No descriptor goes on to the next program by itself any more.
func takeSockets(conventions []activation.Convention) ([]activation.Socket, error) {
	defer closeOnExecAll() // afterwards: passed descriptors are told by the missing flag
	sockets, err := activation.Inherited(os.LookupEnv)
	if err != nil {
		return nil, err
	}
	imported, err := activation.Import(conventions, sockets, os.LookupEnv)
	return append(sockets, imported...), err
}

// withConventions is a copy of env that has the sockets of a server in the variables of
// the conventions that it reads, too. What a predecessor set for us is not the server's.
func withConventions(env []string, o Options, sockets []activation.Socket, generation int) ([]string, error) {
	env = withoutConventions(env, slices.Concat(o.Import, o.Export))
	for _, c := range o.Export {
		more, err := c.Export(sockets, generation)
		if err != nil {
			return nil, err
		}
		for _, entry := range more {
			if len(entry) >= maxVariable {
				name, _, _ := strings.Cut(entry, "=")
				return nil, fmt.Errorf("export %s: %s would have %d bytes, and the kernel takes %d; hint: fewer sockets", c, name, len(entry)+1, maxVariable)
			}
		}
		env = append(env, more...)
	}
	return env, nil
}

// withoutConventions is a copy of env without the variables of conventions.
func withoutConventions(env []string, all []activation.Convention) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.ContainsFunc(all, func(c activation.Convention) bool { return c.Owns(name) })
	})
}
