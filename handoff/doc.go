// Package handoff replaces a running server by its next generation without
// losing a connection.
//
// Three processes do it. A launcher, started by the manager (systemd), brings a
// generation into being and makes it current: [Start] and [Reload]. A keeper
// looks after one generation until its last process is gone. A stage is the
// instant in which a process becomes the server. Keeper and server are started as
// siblings, so that the manager is their parent.
//
// Where nobody follows the main PID a fourth one does, [Foreground]: a manager of our
// own, which the others take for systemd. Or nobody does, and the PID file is all that
// tells of a new server: the option detach.
//
// # A handoff
//
// L2, K2 and S2 are the launcher, keeper and server of the new generation, K1 and
// S1 those of the current one. Rows are numbered as in the code.
//
//	 1  L2      checks what it was given                       preflight.go
//	 2  L2      asks the manager for time                      launcher.go
//	 3  L2 K1   connect, compare versions                      launcher.go
//	 4  K1 L2   sockets, command, options                      peers_linux.go, estate.go
//	 5  L2      finds or binds what is declared                package activation
//	 6  L2      starts K2                                      birth.go
//	 7  K2      makes the notify path, starts S2               keeper.go, stage_linux.go
//	 8  K2      waits until S2 says READY=1, and its probation keepernotify.go
//	 9  L2      PID file, main PID, barrier, descriptor store  publish.go, store.go
//	10  K2      leads S2's notify path to the manager, hides   actions.go, commit
//	            sockets that are no longer declared            changeover.go
//	11  K2 K1   commit                                         predecessor.go
//	12  K1      leads S1's path away, stop signal, later KILL  actions.go, drain
//	13  K2 L2   done                                           actions.go, tellDone
//
// Whatever fails before the manager was told in row 9 leaves K1 and S1 as they
// were. From there on the handoff goes through, unless S2 itself dies before K2
// has sent the commit; states.go says what happens in between. Each of the others
// can die or hang: L2 starts another K2, K2 ends L2, and finishes S1 without K1.
// What comes of it is tested, and listed in integration/FAULTS.md.
//
// From row 4 on, and as long as an older generation drains, the keeper of the current
// one puts back what a server of another unlinks: guard_linux.go.
//
// # The control protocol
//
// A launcher may be of another version than the keeper that it meets; the two speak
// on the control socket, which is a unix socket of type SOCK_SEQPACKET. Only root
// and the keeper's own user are answered, and their request is one record of at most
// 4 KiB, because a keeper does not wait for a peer of which it knows no more. (A launcher and the keeper that it starts
// are the same program, and speak in the same form about other things: protocol.go.)
//
// A message is one record, or several of one kind when it is large:
//
//	record = ( "." | "+" ) kind NUL *( key "=" value NUL )
//
// "+" says that another record of the message follows. Values are bytes without
// NUL. Fields have an order, and a key may repeat. A key that begins with "@" has a
// descriptor: those of a record's SCM_RIGHTS, one for each such key, in order. No
// record has more than 253 descriptors, no message more than 8 MiB. A message of more
// than 64 begins with a record whose only field, "descriptors", says how many it has, so
// that its reader can make room. Anything else ends the connection.
//
//	launcher  reload    version least
//	keeper    estate    version least, the fields of an estate, stop-signal drain-timeout
//	     or   refused   version least reason code
//	launcher  reserve   spec ...
//	keeper    reserved
//	keeper 2  commit
//	keeper    replaced
//	keeper N  end
//
// The launcher speaks first. The keeper answers "estate", or "refused" and hangs up;
// code is the launcher's exit status. The launcher hands the connection to the
// keeper of the new generation, which says "commit" when the manager follows its
// server. From then on the old generation is replaced; "replaced" says that its
// server has been told to stop. Whoever hangs up before "commit" leaves the running
// generation as it was; afterwards the old keeper holds the connection until it is
// gone, and its other end goes on to every later generation: "end" says that too
// many drain. Before it makes files for sockets or changes options of sockets the
// launcher says in "reserve" what it wants, so that the keeper can tidy up if it dies
// too early to do so itself.
//
// The fields of an estate, of which "spec", "file" and "stored" belong to the socket
// before them, and "poll" to the descriptor:
//
//	generation       number of the running generation
//	argument         one for each of the command, in order
//	option value     one pair for each setting of the command line
//	@socket          name in LISTEN_FDNAMES; one for each, in order
//	@control         name; the control socket, listening
//	spec             what the socket was bound from, or nothing
//	file             DEVICE:INODE of the socket's path, or 0:0
//	stored           FDNAME under which the manager keeps it; only if it does
//	@stored          name in LISTEN_FDNAMES; one for each of the server's own, in order
//	poll             whether that is dropped when it hangs up
//	forget           FDNAME of what the manager is to be rid of, and may keep
//	watchdog         WATCHDOG_USEC, or nothing
//	credentials      CREDENTIALS_DIRECTORY, or nothing
//	@server          process ID; a pidfd
//	@older           process ID of an older generation's server; a pidfd
//	@older-keeper    its keeper's connection, unless it is dead
//	older-...        its generation, stop-signal and drain-timeout
//	@stdio           0, 1 or 2, of a detached server
//
// Stop-signal and drain-timeout say how the server wants to be finished, should its
// keeper die.
//
// Each side names the highest version that it speaks, and the least, as numbers.
// They speak the lower of the two highest; if it is lower than the least of either,
// the keeper refuses. The launcher checks the answer by the same rule. "refused" is
// the same in all versions. A version rises when a message that an older peer knows
// gets another meaning. It stays when a field or a message is added:
//
//   - A field that the reader does not know is ignored, and its descriptor closed.
//   - A message that the reader does not know is refused by its kind where a
//     request or the answer is due, and ignored afterwards.
//
// A foreground process has a socket of its own, of the same kind and with the same
// rules, on which it can be asked for a handoff. That request has a command line, and
// may be a record of up to 161 KiB:
//
//	reload      handoff   version least manager argument ...
//	foreground  progress  text
//	            result    code text
//	     or     refused   version least reason code
//
// The arguments are for a launcher, which flipexec at the same path is started as.
// Manager is "true" if the asker was started by the manager of the foreground process,
// which then need not be told. Any number of "progress" come before the "result".
//
// The messages as bytes are in testdata/golden.
//
// The package works on Linux from 5.3 on, and on systemd from 247 on.
package handoff
