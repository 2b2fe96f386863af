"""A server whose clients keep their connections over a reload, and their count with it.

It answers whatever a client sends with a line: how many it has answered, and which generation it is. The
connections and a memfd with the count go from one generation to the next. See docs/descriptors.md.
"""
import fcntl
import json
import os
import selectors
import signal
import socket

GENERATION = int(os.environ["FLIPEXEC_GENERATION"])


def tell(address, text, *fds):
    """sd_notify(3), with descriptors."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(address)
        socket.send_fds(s, [text.encode()], fds)


def store(text, *fds):
    """The keeper gives it to the next generation, and systemd to the next run after a crash or a restart."""
    tell(os.environ["FLIPEXEC_STORE"], text, *fds)
    tell(os.environ["NOTIFY_SOCKET"], text, *fds)


class State:
    """A memfd that two generations share while one of them drains."""

    def __init__(self, fd=None):
        self.fd = fd
        if fd is None:
            self.fd = os.memfd_create("state")
            os.write(self.fd, json.dumps({"answered": 0}).encode())
            store("FDSTORE=1\nFDNAME=state", self.fd)

    def update(self, change):
        fcntl.lockf(self.fd, fcntl.LOCK_EX)  # of this process; flock(2) would be of the descriptor, which is shared
        state = json.loads(os.pread(self.fd, 1 << 20, 0))
        change(state)
        data = json.dumps(state).encode()
        os.pwrite(self.fd, data, 0)
        os.ftruncate(self.fd, len(data))
        fcntl.lockf(self.fd, fcntl.LOCK_UN)
        return state


class Server:
    def __init__(self):
        self.loop = selectors.DefaultSelector()
        self.clients, listeners, memory = {}, [], None
        for i, name in enumerate(os.environ["LISTEN_FDNAMES"].split(":")):
            if name == "state":
                memory = 3 + i
            elif name.startswith("client-"):
                self.add(name, socket.socket(fileno=3 + i))
            else:
                listeners.append(socket.socket(fileno=3 + i))
        self.listeners = listeners
        self.state = State(memory)
        # Whom we have the previous generation need not serve any more.
        self.state.update(lambda s: s.update(generation=GENERATION, clients=list(self.clients)))
        for s in listeners:
            self.loop.register(s, selectors.EVENT_READ, lambda s=s: self.accept(s))
        wake, self.wake = socket.socketpair()
        self.wake.setblocking(False)
        signal.set_wakeup_fd(self.wake.fileno())
        signal.signal(signal.SIGTERM, lambda *_: None)
        self.loop.register(wake, selectors.EVENT_READ, self.stop)
        self.signalled = wake

    def add(self, name, client):
        self.clients[name] = client
        self.loop.register(client, selectors.EVENT_READ, lambda: self.answer(name))

    def remove(self, name):
        client = self.clients.pop(name)
        self.loop.unregister(client)
        client.close()

    def accept(self, listener):
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return  # the other generation was faster
        client.setblocking(False)
        name = "client-" + os.urandom(8).hex()
        store(f"FDSTORE=1\nFDNAME={name}", client.fileno())
        self.add(name, client)

    def answer(self, name):
        client = self.clients[name]
        try:
            data = client.recv(4096)
        except BlockingIOError:
            return  # as above
        except ConnectionError:
            data = b""
        if not data:
            store(f"FDSTOREREMOVE=1\nFDNAME={name}")  # or the connection stays open there
            return self.remove(name)

        def count(s):
            s["answered"] += 1

        client.send(f"{self.state.update(count)['answered']} generation {GENERATION}\n".encode())

    def stop(self):
        """SIGTERM: a later generation has most of our clients. Those that came too late for it stay ours."""
        self.signalled.recv(16)
        for s in self.listeners:
            self.loop.unregister(s)
            s.close()
        self.listeners = []
        state = self.state.update(lambda s: None)
        for name in list(self.clients):
            if state["generation"] == GENERATION or name in state["clients"]:
                self.remove(name)

    def run(self):
        tell(os.environ["NOTIFY_SOCKET"], "READY=1")
        while self.listeners or self.clients:
            for key, _ in self.loop.select():
                if key.fileobj.fileno() >= 0:  # else something has closed it in this turn
                    key.data()


Server().run()
