"""Writes what a server can see of its own start, as world.c does, whose keys these are.

The interpreter itself ignores SIGPIPE and SIGXFSZ and catches SIGINT before the first
line runs: status.SigIgn and status.SigCgt hold that too, with and without flipexec.
"""
import ctypes
import os
import platform
import signal
import socket
import sys

IOPRIO_GET, KEYCTL = {"x86_64": (252, 250), "aarch64": (31, 219)}[platform.machine()]
LIBC = ctypes.CDLL(None)
STATUS = (b"Umask PPid TracerPid Uid Gid Groups SigBlk SigIgn SigCgt CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs"
          b" Seccomp Seccomp_filters Speculation_Store_Bypass THP_enabled Cpus_allowed_list Mems_allowed_list").split()
STAT = {4: "parent", 5: "group", 6: "session", 7: "terminal", 19: "nice", 40: "rt_priority", 41: "policy"}

report = []


def escape(data):
    return "".join(chr(c) if 32 <= c < 127 and c != 92 else "\\x%02x" % c for c in data)


def put(key, value):
    report.append(f"{key}={escape(value if isinstance(value, bytes) else str(value).encode())}")


def slurp(name):
    try:
        with open(f"/proc/self/{name}", "rb") as f:
            return f.read().removesuffix(b"\n")
    except FileNotFoundError:
        return b"absent"


def put_status():
    for line in slurp("status").splitlines():
        key, value = line.split(b":", 1)
        if key in STATUS:
            put("status." + key.decode(), value.lstrip())


def local_address(fd):
    s = socket.socket(fileno=fd)
    try:
        name = s.getsockname()
        if s.family == socket.AF_INET6:
            name = "[%s]:%d" % name[:2]
        elif s.family == socket.AF_INET:
            name = "%s:%d" % name
        elif isinstance(name, bytes):
            name = "@" + os.fsdecode(name[1:])
        return f" type={s.type:d} listening={s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)} local={name}"
    finally:
        s.detach()


def put_descriptors():
    import fcntl
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            link = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the one that listdir had
            continue
        local = local_address(fd) if link.startswith("socket:") else ""
        if link.startswith(("socket:", "pipe:")):
            link = link.split(":")[0]
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        put(f"fd.{fd}", f"{link} flags={flags:o} cloexec={fcntl.fcntl(fd, fcntl.F_GETFD)}{local}")


def put_limits():
    for line in slurp("limits").decode().splitlines()[1:]:
        soft, hard = line[26:].split()[:2]
        put("limit." + line[:26].rstrip(), f"{soft}:{hard}")


def prctl(option):
    return LIBC.prctl(option, 0, 0, 0, 0)


def put_process():
    for field, value in enumerate(slurp("stat").rpartition(b")")[2].split(), 3):
        if field in STAT:
            put(STAT[field], value)
    for name in "cgroup comm coredump_filter loginuid oom_score_adj personality".split():
        put(name, slurp(name))
    for name in "cgroup ipc mnt net pid user uts".split():
        put("namespace." + name, os.readlink(f"/proc/self/ns/{name}"))
    for name in "cwd", "exe":
        put(name, os.readlink(f"/proc/self/{name}"))
    group = slurp("autogroup")
    put("autogroup", group[group.index(b"nice"):] if b"nice" in group else b"absent")
    put("pid", os.getpid())
    death_signal = ctypes.c_int()
    LIBC.prctl(2, ctypes.byref(death_signal))  # PR_GET_PDEATHSIG
    put("parent_death_signal", death_signal.value)
    put("dumpable", prctl(3))
    put("securebits", prctl(27))
    put("timer_slack", prctl(30))
    put("io_priority", LIBC.syscall(IOPRIO_GET, 1, 0))
    keyring = ctypes.create_string_buffer(256)
    LIBC.syscall(KEYCTL, 6, -3, keyring, 255)  # KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING
    put("session_keyring", keyring.value)


def put_journal():
    st = os.fstat(2)
    put("stderr_is_journal", "yes" if os.environ.get("JOURNAL_STREAM") == f"{st.st_dev}:{st.st_ino}" else "no")


def put_strings():
    for i, arg in enumerate(slurp("cmdline").removesuffix(b"\0").split(b"\0")):
        put(f"arg.{i}", arg)
    for entry in slurp("environ").removesuffix(b"\0").split(b"\0"):
        report.append("env." + escape(entry))


put_status()
put_descriptors()
put_limits()
put_process()
put_journal()
put_strings()
with open(os.environ["WORLD_REPORT"] + "-" + os.environ.get("FLIPEXEC_GENERATION", "0"), "w") as f:
    print(*report, sep="\n", file=f)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
signal.pause()
sys.exit("signal.pause returned")
