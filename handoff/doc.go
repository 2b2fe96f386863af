// Package handoff replaces a running server by its next generation without
// losing a connection.
//
// Three processes do it. A launcher, started by the manager (systemd), brings a
// generation into being and makes it current: [Start] and [Reload]. A keeper
// looks after one generation until its last process is gone. A stage is the
// instant in which a process becomes the server. Keeper and server are started as
// siblings, so that the manager is their parent.
//
// # A handoff
//
// L2, K2 and S2 are the launcher, keeper and server of the new generation, K1 and
// S1 those of the current one. Rows are numbered as in the code.
//
//	 1  L2      checks what it was given                       preflight.go
//	 2  L2      asks the manager for time                      launcher.go
//	 3  L2 K1   connect, compare versions                      launcher.go
//	 4  K1 L2   sockets, command, options                      events_linux.go, estate.go
//	 5  L2      finds or binds what is declared                package activation
//	 6  L2      starts K2                                      birth.go
//	 7  K2      makes the notify path, starts S2               keeper.go, stage_linux.go
//	 8  K2      waits until S2 says READY=1                    keepernotify.go
//	 9  L2      PID file, main PID, barrier                    publish.go
//	10  K2      leads S2's notify path to the manager          actions.go, commit
//	11  K2 K1   commit                                         predecessor.go
//	12  K1      leads S1's path away, stop signal, later KILL  actions.go, drain
//	13  K2 L2   done                                           actions.go, tellDone
//
// Whatever fails before the manager was told in row 9 leaves K1 and S1 as they
// were. From there on the handoff goes through, unless S2 itself dies before K2
// has sent the commit; states.go says what happens in between.
//
// # The control protocol
//
// Messages are records on SOCK_SEQPACKET sockets, described at message and listed
// in protocol.go. On the control socket the first message in each direction has a
// version; a peer refuses another version than its own, and ignores fields that it
// does not know. (A launcher and its keeper are the same program.)
// Only the same user and root are answered.
//
// The package works on Linux from 5.3 on, and on systemd from 247 on.
package handoff
