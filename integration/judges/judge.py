"""What python-systemd says of the descriptors that this process was passed, as judge.c does:

python3 judge.py REPORT NEXT ...
"""
import os
import socket
import sys

from systemd import daemon

KINDS = [
    (socket.AF_INET, socket.SOCK_STREAM, 1, "tcp"), (socket.AF_INET6, socket.SOCK_STREAM, 1, "tcp"),
    (socket.AF_INET, socket.SOCK_DGRAM, 0, "udp"), (socket.AF_INET6, socket.SOCK_DGRAM, 0, "udp"),
    (socket.AF_UNIX, socket.SOCK_STREAM, 1, "unix"), (socket.AF_UNIX, socket.SOCK_DGRAM, 0, "unixgram"),
    (socket.AF_UNIX, socket.SOCK_SEQPACKET, 1, "unixpacket"), (socket.AF_VSOCK, socket.SOCK_STREAM, 1, "vsock"),
    (socket.AF_NETLINK, socket.SOCK_RAW, 0, "netlink")]


def kind(fd):
    for family, type_, listening, name in KINDS:
        if daemon.is_socket(fd, family, type_, listening):
            return name
    return "fifo" if daemon.is_fifo(fd) else "-"


def address(fd):
    try:
        s = socket.socket(fileno=fd)
    except OSError:
        return "-"
    try:
        name = s.getsockname()
        if s.family == socket.AF_INET6:
            return "[%s]:%d" % name[:2]
        if s.family in (socket.AF_INET, socket.AF_VSOCK):
            return "%s:%d" % name
        if s.family == socket.AF_UNIX:
            return "@" + os.fsdecode(name[1:]) if isinstance(name, bytes) else name
        return "-"
    finally:
        s.detach()


report, generation = sys.argv[1], os.environ.get("FLIPEXEC_GENERATION", "0")
fds = daemon.listen_fds(unset_environment=False)
names = daemon.listen_fds_with_names(unset_environment=False)
with open(f"{report}-{generation}-python-systemd", "w") as f:
    print(len(fds), file=f)
    for fd in fds:
        print(fd, kind(fd), address(fd), names[fd], file=f)
        os.set_inheritable(fd, True)  # libsystemd made it close-on-exec
os.execv(sys.argv[2], sys.argv[2:])
