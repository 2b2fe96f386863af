// Package activation makes, matches and passes on sockets by systemd's
// socket activation protocol, sd_listen_fds(3).
//
// A server takes what it was given with [Take] and asks for its listeners and
// packet connections by name. A program that passes sockets on reads them with
// [Inherited], makes what is missing with [Gather], and describes them to the
// next program with [Environ].
//
// # Descriptors
//
// Every descriptor is close-on-exec from birth and stays with the [Socket]
// that names it; whoever holds the Socket closes it. O_NONBLOCK belongs to the
// open file description, which all generations of a server share: it is set
// once, where [Bind] creates a socket, and never touched by whoever passes
// sockets on. Package net sets it on what [Passed] turns into a listener or a
// packet connection.
//
// # Options
//
// The options of a [Spec] are set before a new socket is bound. A socket that is inherited
// keeps those that it has until [Changes.Apply], because whoever passed it on serves
// on it still.
//
// On systems other than Linux everything but parsing is an error that wraps
// [errors.ErrUnsupported], and so are options.
package activation
