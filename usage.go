package main

// usage is what --help prints, and the README's section "Usage".
const usage = `Usage:
  flipexec [options] -- command [argument ...]   start a server
  flipexec reload [options] [-- command ...]     replace it; the exit status
                                                 says whether that worked
  flipexec exec [options] -- command ...         open the sockets and become
                                                 the command; takes --listen,
                                                 --export, --import and
                                                 --ignore-sigpipe only

Options:
  --listen SPEC           a socket for the server; repeatable, in the order of
                          its descriptors from 3 on. [NAME=]NETWORK:ADDRESS:
                          tcp::80  http=tcp:127.0.0.1:8080  udp:[::1]:53
                          unix:/run/app.sock  unix:@name
                          (tcp4, tcp6, udp4, udp6, unixgram, unixpacket,
                          vsock, netlink, fifo, special); with options as in
                          "tcp::80?backlog=4096&nodelay=yes", docs/sockets.md
  --export KIND[,KIND...] the sockets in variables that the server reads, beside
                          LISTEN_FDS: nghttpx, nginx, php-fpm, server-starter
  --import KIND[,KIND...] of a start: take over what a predecessor passes on in
                          such variables: the same, gunicorn, unicorn
  --pid-file PATH         holds the PID of the current server
  --ready-timeout TIME    for READY=1 of a new server (default 60s)
  --probation TIME        a new server that is ready serves beside the old one
                          for so long before it takes over (default 0)
  --stop-signal SIGNAL    tells a replaced server to finish (default TERM)
  --drain-timeout TIME    from there to SIGKILL (default 90s; 0: no limit)
  --max-draining NUMBER   of servers that finish at once; the oldest gets
                          SIGKILL to make room (default 0: no limit)
  --ignore-sigpipe BOOL   the server ignores SIGPIPE (default: yes if systemd
                          started flipexec, as its IgnoreSIGPIPE=yes, else no)
  --fdstore[=BOOL]        systemd keeps the sockets while nothing runs: a crash
                          or restart refuses no connection (default: yes if it
                          says in FDSTORE that it has room), docs/sockets.md
  --foreground            stay in front of the server, as its manager; without
                          NOTIFY_SOCKET, and as process 1, that is the default
  --detach                leave the server to itself once it is ready; needs a
                          PID file: Type=forking, OpenRC, sysvinit, monit
  --name NAME             tells instances outside of systemd apart, and reload
                          which one is meant (default: the command's name)
  --version, --help

A reload keeps the command and the options of the running server unless its own
line says otherwise. Each option can be given in the environment as well:
FLIPEXEC_LISTEN (several specs with blanks between), FLIPEXEC_PID_FILE, ...

Exit status: 0 done; 1 it failed and nothing has changed; 2 usage; 3 another
handoff is under way; 4 nothing is running; 126 the command cannot be run;
127 it is not found.
`
