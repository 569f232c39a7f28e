"""SSH connections that end when the machine is gone: pyinfra's wait for ever, unless ssh_config says otherwise.

A command may be silent for as long as it likes. What counts is whether the machine's sshd answers when it is asked.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from fcntl import ioctl
from functools import wraps
from struct import unpack
from termios import TIOCOUTQ
from threading import Thread
from typing import Any

from paramiko import Message, SSHException
from paramiko.common import cMSG_GLOBAL_REQUEST

EVERY = 10.0
"""Seconds without anything sent after which a machine is asked for a sign of life."""
PATIENCE = 40.0
"""Seconds without a sign of life after which a machine counts as gone. A machine that has rebooted answers sooner."""
LOOKS = 16
"""How often it is looked at meanwhile. Looks are counted, and not seconds: this process may have been busy for a minute."""
_DRAINED = 4096
"""Bytes by which the queue of a slow line must have shrunk to count as a sign of life: a question takes about a hundred."""


def notice_when_gone(host: Any) -> None:
    """Make the connection of a pyinfra host end if its machine does not answer any more. Does nothing if it is not SSH."""
    client: Any = getattr(host.connector, "client", None)
    transport: Any = client.get_transport() if hasattr(client, "get_transport") else None
    if transport is None:
        return
    if hasattr(socket, "TCP_USER_TIMEOUT") and isinstance(transport.sock, socket.socket):  # a jump host's is a channel
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(PATIENCE * 1000))
    watch = _Watch(transport)
    watch.begin()
    host.connector.run_shell_command = _with_connection_errors(host.connector.run_shell_command, watch)


class _Watch:
    """Over one connection. A relay or a jump host acknowledges what TCP sends for a machine that is gone, so sshd is asked."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._alive = True  # since the last look
        self._asking = False
        self._queued = 0
        self.gone = False

    def begin(self) -> None:
        packetizer = self._transport.packetizer
        read_message, write_all = packetizer.read_message, packetizer.write_all

        def read() -> Any:
            message = read_message()
            self._alive = True
            return message

        def write(data: bytes) -> None:
            write_all(data)
            self._alive = self._alive or not self._asking

        packetizer.read_message, packetizer.write_all = read, write
        packetizer.set_keepalive(EVERY, self._ask)
        Thread(target=self._look, daemon=True).start()

    def _ask(self) -> None:
        """Send what every sshd has to answer, if only that it does not know it (RFC 4254, 4). paramiko's own wants no answer."""
        question = Message()
        question.add_byte(cMSG_GLOBAL_REQUEST)
        question.add_string("keepalive@openssh.com")
        question.add_boolean(True)
        self._asking = True
        try:
            self._transport._send_user_message(question)
        finally:
            self._asking = False

    def _look(self) -> None:
        silent = 0
        while self._transport.is_active():
            time.sleep(PATIENCE / LOOKS)
            silent = 0 if self._alive or self._drains() else silent + 1
            self._alive = False
            if silent == LOOKS:
                self.gone = True
                self._transport.close()

    def _drains(self) -> bool:
        """Whether less waits to be acknowledged than at the last look: on a slow line the question waits behind an archive."""
        before, self._queued = self._queued, 0
        with suppress(OSError, AttributeError, ValueError):  # a jump host's channel, or closed
            (self._queued,) = unpack("i", ioctl(self._transport.sock.fileno(), TIOCOUTQ, b"\0" * 4))
        return before - self._queued > _DRAINED


def _with_connection_errors(run: Any, watch: _Watch) -> Any:
    """A connection that ends while a command is being sent raises paramiko's EOFError. pyinfra does not know that error: it would
    end the whole run with a traceback, although only one host has failed. If it ends later, a command fails and says nothing.
    """

    @wraps(run)
    def run_shell_command(*args: Any, **kwargs: Any) -> Any:
        try:
            result = run(*args, **kwargs)
        except (EOFError, OSError, SSHException) as error:
            if watch.gone or isinstance(error, EOFError):
                raise _lost(watch) from None
            raise
        if watch.gone:
            raise _lost(watch)
        return result

    return run_shell_command


def _lost(watch: _Watch) -> ConnectionResetError:
    if watch.gone:
        return ConnectionResetError(
            f"no sign of life for {PATIENCE:.0f} s: the machine, or the network to it, is gone. Run it again when it is back; "
            "--limit names the hosts to go on with"
        )
    return ConnectionResetError("the machine has ended the connection")
