package activation

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// compare finds what an inherited socket of s's kind and address has to take to be as s
// says, and the first option that it cannot take. What neither s nor the former spec
// speaks of is the server's own business.
func (s Spec) compare(sock Socket) (changes Changes, fixed *option, err error) {
	differing := s.differing(sock)
	if len(differing) == 0 {
		return nil, nil, nil
	}
	model, err := s.model()
	if err != nil {
		return nil, nil, err
	}
	defer model.Close()
	was, _ := ParseSpec(sock.Spec)
	ours := sock.Spec != ""
	sock.Spec = s.String() // the same path, under which the file options look
	for _, o := range differing {
		to, err := s.wanted(o, model)
		if err != nil {
			return nil, nil, fmt.Errorf("option %s: %w", o.name, err)
		}
		from, err := o.now(sock)
		if err == errUnseen && ours {
			from, err = was.backlog(), nil
		}
		switch {
		case !ours && (err != nil || from != to):
			return nil, nil, foreign(o, from, err)
		case err != nil:
			return nil, nil, fmt.Errorf("option %s: %w", o.name, err)
		case from == to && !(o.name == "priority" && changes.have("tos")): // which would change it
		case o.fixed == stays, o.fixed == shared, o.fixed == reopened, o.fixed == staysOn && from.n != 0:
			return nil, o, nil
		default:
			changes = append(changes, Change{socket: sock, option: o, from: from, to: to})
		}
	}
	return changes, nil, nil
}

// foreign refuses to change a socket that systemd has made and will use again. Passing
// over the option would be a lie.
func foreign(o *option, has value, err error) error {
	hint := "hint: leave the option out"
	if o.setting != "" {
		hint = "hint: " + o.setting + "= in its .socket unit"
	}
	if err != nil {
		return fmt.Errorf("option %s of a socket that was inherited: %w; %s", o.name, err, hint)
	}
	text := has.String()
	if o.name == "mode" {
		text = fmt.Sprintf("%04o", has.n)
	}
	return fmt.Errorf("option %s of a socket that was inherited is %s; %s", o.name, text, hint)
}

// differing are the options in the order of the table that s and what sock was
// made from do not have in common, and those that follow from them.
func (s Spec) differing(sock Socket) (all []*option) {
	was, _ := ParseSpec(sock.Spec)
	if was.Options == s.Options {
		return nil
	}
	settled := map[string]bool{}
	for i := range options {
		o := &options[i]
		before, had := was.given(o.name)
		after, has := s.given(o.name)
		changed := had != has || before != after
		if !changed && sock.Spec != "" {
			changed = o.name == "priority" && settled["tos"] || o.name == "group" && settled["user"]
		}
		if changed && o.fixed != forgotten {
			settled[o.name] = true
			all = append(all, o)
		}
	}
	return all
}

// model is a socket like the one that s describes, never bound. It shows what the
// kernel makes of each option, rounded as it does, and of those that are left out; and
// that it takes them, before anything is changed.
func (s Spec) model() (Socket, error) {
	switch s.Network {
	case "special":
		return Socket{FD: -1}, nil
	case "fifo":
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			return Socket{}, err
		}
		unix.Close(ends[1])
		model := Socket{FD: ends[0]}
		if err := s.setEarly(model); err != nil {
			model.Close()
			return Socket{}, err
		}
		return model, nil
	}
	fd, _, err := s.open()
	return Socket{FD: fd}, err
}

// wanted is what the option of a socket is to be by s.
func (s Spec) wanted(o *option, model Socket) (value, error) {
	switch {
	case o.when == onFile:
		v, ok, err := s.fileOption(o.name)
		if err == nil && !ok {
			return s.created(o.name)
		}
		return v, err
	case o.when == atListen:
		return s.backlog(), nil
	case s.Network == "special":
		v, _ := s.given(o.name)
		return v, nil
	}
	return o.now(model)
}
