"""Heartbeats of a worker's connection to RabbitMQ, from a thread of the system.

RabbitMQ gives back what a worker holds when the connection is closed, or when it has heard nothing for a while. Celery's main
loop sends heartbeats, and stands still while a task of solo runs or a green one computes, and while a worker that stops waits for
its tasks: a task would be given to another worker while it runs here.

With TLS the thread does so for solo alone, whose loop does nothing with the connection meanwhile: an SSL object is not for two
threads.
"""

from __future__ import annotations

import os
import socket
import struct
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any

from fleet_node.delivery.holdings import uptime
from fleet_node.delivery.native import Thread, original

FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"
"""A heartbeat."""
SILENT_FOR = 2.0
"""Heartbeats without a sign of RabbitMQ after which the connection counts as dead."""


class Heartbeats:
    """Of one worker (a celery WorkController), over all of its connections. with_tls: also of those that are encrypted."""

    def __init__(self, worker: Any, with_tls: bool) -> None:
        self._worker, self._with_tls = worker, with_tls
        self._thread: Thread | None = None
        self._of: Any = None
        self._sent = self._received = -1
        self._heard_at = 0.0

    def start(self) -> None:
        """Start the thread. Threads do not survive a fork: to be called when the pool is there."""
        if self._thread is None:
            self._thread = Thread(self._step, lambda: None)

    def stop(self) -> None:
        """End the thread."""
        if self._thread:
            self._thread.stop()

    def _step(self) -> float:
        """Returns the seconds until the next step. Never raises: the connection may close meanwhile."""
        try:
            consumer = self._worker.consumer
            connection = consumer.connection._connection if consumer and consumer.connection else None
            if connection is None or not connection.heartbeat or (is_encrypted(connection) and not self._with_tls):
                return 1.0
            self._look_at(connection, connection.heartbeat)
            return float(connection.heartbeat) / 4
        except Exception:
            return 1.0

    def _look_at(self, connection: Any, heartbeat: float) -> None:
        now, sock = uptime(), connection.transport.sock
        if connection is not self._of or connection.bytes_recv != self._received or _has_come(sock):
            self._heard_at = now
        is_silent = connection is self._of and connection.bytes_sent == self._sent
        self._of, self._sent, self._received = connection, connection.bytes_sent, connection.bytes_recv
        if now - self._heard_at > SILENT_FOR * heartbeat:
            _cut(sock)
        elif is_silent and not _is_sending(sock):
            _send(sock)


def is_encrypted(connection: Any) -> bool:
    """Whether an amqp connection has TLS."""
    return getattr(connection.transport.sock, "_sslobj", None) is not None


def _has_come(sock: Any) -> bool:
    """Whether there is something to read: the main loop does not read now."""
    return bool(original("select").select([sock.fileno()], [], [], 0)[0])


def _is_sending(sock: Any) -> bool:
    """Whether the system still has something to send, perhaps half of a frame."""
    return bool(struct.unpack("i", ioctl(sock.fileno(), TIOCOUTQ, b"\0\0\0\0"))[0])


def _send(sock: Any) -> None:
    """Send a heartbeat, past gevent's sockets: they belong to the loop that stands still."""
    if encrypted := getattr(sock, "_sslobj", None):
        encrypted.write(FRAME)
    else:
        os.write(sock.fileno(), FRAME)


def _cut(sock: Any) -> None:
    """Have the main loop notice that the connection is dead."""
    native = original("socket").socket(fileno=os.dup(sock.fileno()))
    try:
        native.shutdown(socket.SHUT_RDWR)
    finally:
        native.close()
