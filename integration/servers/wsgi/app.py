"""The Python server of the integration tests: /usr/bin/gunicorn --preload -w 2 app:app, in this directory.

Sockets: gunicorn takes LISTEN_FDS by itself if LISTEN_PID is its arbiter's.
Ready: the arbiter sends READY=1, with --preload once this module has been imported (without, before).
Stop: SIGTERM to the arbiter, whose workers finish their requests; it exits 0.
/slow takes two seconds. X-Pid is the arbiter's PID, which is systemd's main PID; X-Worker is the PID of the worker that answers.
"""
import os
import time


def app(environ, start_response):
    arbiter = os.getppid()
    if environ["PATH_INFO"] == "/slow":
        time.sleep(2)
    generation = os.environ.get("FLIPEXEC_GENERATION", "")
    body = f"ok pid={arbiter} gen={generation}\n".encode()
    start_response("200 OK", [
        ("Content-Type", "text/plain"),
        ("Content-Length", str(len(body))),
        ("X-Pid", str(arbiter)),
        ("X-Worker", str(os.getpid())),
        ("X-Generation", generation),
    ])
    return [body]
