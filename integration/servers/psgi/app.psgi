# The Perl server of the integration tests: starman --preload-app app.psgi, or
# plackup -s Starlet app.psgi.
#
# Sockets: those in $SERVER_STARTER_PORT, which must be blocking.
# Ready: here, before the parent has forked its workers; clients wait in the queue.
# Stop: Starman finishes at SIGQUIT, Starlet at SIGTERM.
# X-Pid is the parent's PID, which is systemd's main PID.
use strict;
use warnings;

my $pid = $$;
my $generation = $ENV{FLIPEXEC_GENERATION} // '';
system 'systemd-notify', '--ready' if $ENV{NOTIFY_SOCKET};

sub {
    my $body = "ok pid=$pid gen=$generation\n";
    return [200, [
        'Content-Type'   => 'text/plain',
        'Content-Length' => length $body,
        'X-Pid'          => $pid,
        'X-Generation'   => $generation,
    ], [$body]];
};
