"""A TCP proxy in front of a server's Unix socket, whose network can be cut and stalled."""

import selectors
import socket
import threading


class TcpProxy:
    """Listens on 127.0.0.1; `port` is where. One thread; every connection is forwarded to the Unix socket `target`."""

    def __init__(self, target):
        self._target = str(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._pairs = {}  # socket -> its other side
        self._lock = threading.Lock()
        self._cut = self._stalled = self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self):
        """Ends every connection and takes no new one until heal()."""
        self._cut = True
        self._end_all()

    def stall(self):
        """Nothing goes through and nobody is told, until heal()."""
        self._stalled = True

    def heal(self):
        self._cut = self._stalled = False

    def close(self):
        self._closed = True
        self._thread.join(10)
        self._end_all()
        self._listener.close()

    def _end_all(self):
        with self._lock:
            for one in list(self._pairs):
                self._end(one)

    def _end(self, one):
        """With the lock held."""
        other = self._pairs.pop(one, None)
        if other is not None:
            self._pairs.pop(other, None)
            for side in (one, other):
                side.close()

    def _accept(self):
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        if self._cut:
            client.close()
            return
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self._target)
        except OSError:
            client.close()
            server.close()
            return
        with self._lock:
            self._pairs[client], self._pairs[server] = server, client

    def _forward(self, one):
        other = self._pairs.get(one)
        if other is None:
            return
        try:
            data = one.recv(65536)
            if not data:
                raise OSError("end")
            other.sendall(data)
        except OSError:
            self._end(one)

    def _run(self):
        while not self._closed:
            with self._lock:
                sockets = [] if self._stalled else list(self._pairs)
            with selectors.DefaultSelector() as selector:
                selector.register(self._listener, selectors.EVENT_READ)
                for one in sockets:
                    try:
                        selector.register(one, selectors.EVENT_READ)
                    except (ValueError, KeyError):
                        continue  # closed meanwhile
                ready = selector.select(0.01)
            for key, _ in ready:
                if key.fileobj is self._listener:
                    self._accept()
                    continue
                with self._lock:
                    self._forward(key.fileobj)
