"""SSH connections that end when the machine is gone: pyinfra's wait for ever, unless ssh_config says otherwise.

A command may be silent for as long as it likes. What counts is whether the machine's sshd answers when it is asked.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from errno import ETIMEDOUT
from fcntl import ioctl
from functools import wraps
from struct import unpack
from termios import TIOCOUTQ
from threading import Thread
from typing import Any

from paramiko import Message, SSHException
from paramiko.common import cMSG_GLOBAL_REQUEST
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors import ssh as ssh_module
from pyinfra.connectors.sshuserclient import client as client_module

connector: Any = ssh_module
user_client: Any = client_module

EVERY = 10.0
"""Seconds without anything sent after which a machine is asked for a sign of life."""
PATIENCE = 40.0
"""Seconds without a sign of life after which a machine counts as gone. A machine that has rebooted answers sooner."""
LOOKS = 16
"""How often it is looked at meanwhile. Looks are counted, and not seconds: this process may have been busy for a minute."""
_DRAINED = 4096
"""Bytes by which the queue of a slow line must have shrunk to count as a sign of life: a question takes about a hundred."""


def install() -> None:
    """Have pyinfra name the file of this machine for which it cannot connect. To be called before it connects."""
    user_client.append_hostkey = _naming(user_client.append_hostkey)
    connector.get_private_key = _refusing_bytes(connector.get_private_key)


def _naming(append_hostkey: Any) -> Any:
    @wraps(append_hostkey)
    def append(client: Any, *args: Any) -> None:
        try:
            append_hostkey(client, *args)
        except OSError as error:  # a full disk's has no name of a file
            raise OSError(error.errno, error.strerror, client._host_keys_filename) from None

    return append


def _refusing_bytes(get_private_key: Any) -> Any:
    @wraps(get_private_key)
    def get(state: Any, key_filename: str, key_password: str | None) -> Any:
        try:
            return get_private_key(state, key_filename=key_filename, key_password=key_password)
        except UnicodeDecodeError:
            raise ConnectError(
                f"ssh_key: {key_filename} is no private key; name the file that ssh-keygen made, without .pub"
            ) from None

    return get


def notice_when_gone(host: Any) -> None:
    """Make the connection of a pyinfra host end if its machine does not answer any more. Does nothing if it is not SSH."""
    ssh = host.connector
    if not hasattr(getattr(ssh, "client", None), "get_transport"):
        return
    watches: list[_Watch] = []

    def watch() -> _Watch:
        """The one over the present connection: pyinfra makes another after a reboot."""
        transport = ssh.client.get_transport()
        if transport is not None and not (watches and watches[-1].is_over_connection(transport)):
            watches[:] = [_Watch(transport)]
            watches[-1].begin()
        return watches[-1]

    if ssh.client.get_transport() is not None:
        watch()
        ssh.run_shell_command = _with_connection_errors(ssh.run_shell_command, watch)


class _Watch:
    """Over one connection. A relay or a jump host acknowledges what TCP sends for a machine that is gone, so sshd is asked."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._alive = True  # since the last look
        self._asking = False
        self._queued = 0
        self.gone = False

    def is_over_connection(self, transport: Any) -> bool:
        """Whether this is the watch over it."""
        return self._transport is transport

    def begin(self) -> None:
        """Watch, until the connection ends."""
        if hasattr(socket, "TCP_USER_TIMEOUT") and isinstance(self._transport.sock, socket.socket):  # not a jump host's channel
            self._transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(PATIENCE * 1000))
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

    def is_over(self, error: Exception | None = None) -> bool:
        """Whether the connection has ended. error: of the command; else the one of the connection itself is looked at."""
        if self._transport.is_active():
            return False
        reason = error or self._transport.get_exception()
        # The kernel has waited for as long.
        self.gone = self.gone or (isinstance(reason, OSError) and reason.errno == ETIMEDOUT)
        return True

    def _drains(self) -> bool:
        """Whether less waits to be acknowledged than at the last look: on a slow line the question waits behind an archive."""
        before, self._queued = self._queued, 0
        with suppress(OSError, AttributeError, ValueError):  # a jump host's channel, or closed
            (self._queued,) = unpack("i", ioctl(self._transport.sock.fileno(), TIOCOUTQ, b"\0" * 4))
        return before - self._queued > _DRAINED


def _with_connection_errors(run: Any, watch_now: Callable[[], _Watch]) -> Any:
    """A connection that ends while a command is being sent raises paramiko's EOFError. pyinfra does not know that error: it would
    end the whole run with a traceback, although only one host has failed. If it ends later, a command fails and says nothing.
    """

    @wraps(run)
    def run_shell_command(*args: Any, **kwargs: Any) -> Any:
        watch = watch_now()
        try:
            succeeded, output = run(*args, **kwargs)
        except (EOFError, OSError, SSHException) as error:
            if isinstance(error, EOFError) or watch.is_over(error):
                raise _lost(watch) from None
            raise
        if not succeeded and watch.is_over():
            raise _lost(watch)
        return succeeded, output

    return run_shell_command


def _lost(watch: _Watch) -> ConnectionResetError:
    if watch.gone:
        return ConnectionResetError(
            f"no sign of life for {PATIENCE:.0f} s: the machine, or the network to it, is gone. Run it again when it is back; "
            "--limit names the hosts to go on with"
        )
    return ConnectionResetError("the machine has ended the connection: look whether it is up, and run it again")
