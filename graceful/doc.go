// Package graceful is for Go servers that want to link something: they get their
// sockets by name, say when they are ready, and lose no request when they are replaced.
//
//	p, err := graceful.New()
//	l, err := p.Listen("http", "tcp", ":8080")
//	p.Serve(l, &http.Server{Handler: handler})
//	err = p.Run() // until SIGTERM, and all that was accepted is answered
//
// Under flipexec, or a .socket unit of systemd, the sockets are those that were
// passed; without either of them [Process.Listen] makes one, so that the same program runs
// at a developer's desk. [Server] alone is the careful drain for an http.Server.
//
// Who comes from tableflip: [New] is tableflip.New, [Process.Listen] Upgrader.Listen,
// [Process.Ready] Upgrader.Ready, and [Process.Stopping] Upgrader.Exit. Upgrade is
// `flipexec reload`, from outside; the PID file and what becomes of the former process
// are flipexec's as well.
package graceful
