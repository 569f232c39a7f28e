"""A TCP connection to Redis that can go silent, be reset, as one that a firewall has forgotten, or be slow."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK = 1 << 16


class Proxy:
    """Passes on what it gets, until connections are frozen, and carry nothing any more, or are forgotten, and reset when used."""

    def __init__(self, to: int) -> None:
        self.connections: list[Connection] = []
        self._to = to
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._accepts = threading.Thread(target=self._accept, daemon=True)
        self._accepts.start()

    def saying(self, word: bytes) -> list[Connection]:
        """The connections whose clients have sent this, and that are not frozen."""
        return [of for of in self.connections if word in of.sent and not of.frozen]

    def close(self) -> None:
        """End all connections, and take no more."""
        self._socket.shutdown(socket.SHUT_RDWR)  # ends accept, which a close alone leaves waiting for one more client
        self._accepts.join()
        self._socket.close()
        for connection in self.connections:
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    client.close()
                    continue
                self.connections.append(Connection(client, server))


class Connection:
    """One client's. sent: the first that it has sent. forgotten: the next that it sends is answered by a reset. delay: seconds
    for which each answer is held back."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.sent, self.frozen, self.forgotten, self.delay = b"", False, False, 0.0
        self._sockets = (client, server)
        threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()
        threading.Thread(target=self._pass_on, args=(server, client), daemon=True).start()

    def close(self) -> None:
        """End it."""
        for end in self._sockets:
            end.close()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                if source is self._sockets[0] and self.forgotten:
                    source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close()
                if source is self._sockets[0] and len(self.sent) < CHUNK:
                    self.sent += data
                if source is self._sockets[1]:
                    time.sleep(self.delay)
                if not self.frozen:
                    target.sendall(data)
            if not self.frozen:
                target.shutdown(socket.SHUT_WR)


@contextmanager
def proxy(to: int) -> Iterator[Proxy]:
    """A proxy for a port of this machine."""
    started = Proxy(to)
    try:
        yield started
    finally:
        started.close()
