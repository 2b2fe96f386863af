//go:build linux

package rig

import (
	"context"
	"net"
	"strings"
)

// Dial connects the calling process to an address of the rig: a literal IP address and port, an abstract
// unix name ("@x"), or the absolute path of a unix socket in the rig. The connection works like any other
// afterwards; the caller closes it. Fits http.Transport.DialContext.
func (r *Rig) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{FallbackDelay: -1} // a second attempt would be on another goroutine: see inNet
	if strings.HasPrefix(network, "unix") && strings.HasPrefix(addr, "/") {
		return d.DialContext(ctx, network, r.Path(addr)) // paths are of the mount namespace
	}
	var c net.Conn
	err := r.inNet(func() (err error) {
		c, err = d.DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// Listen listens for the calling process on a literal address of the rig's network. The caller closes the
// listener.
func (r *Rig) Listen(network, addr string) (net.Listener, error) {
	var l net.Listener
	err := r.inNet(func() (err error) {
		l, err = net.Listen(network, addr)
		return err
	})
	return l, err
}
