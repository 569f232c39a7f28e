"""SSH connections that end when the machine is gone: pyinfra's wait for ever, unless ssh_config says otherwise."""

from __future__ import annotations

import socket
from functools import wraps
from typing import Any

EVERY = 15
"""Seconds between two signs of life."""
PATIENCE = 60
"""Seconds without an acknowledgement (TCP's) after which a machine counts as gone. A machine that has rebooted answers sooner."""


def notice_when_gone(host: Any) -> None:
    """Make the connection of a pyinfra host end if its machine does not acknowledge any more. Does nothing if it is not SSH."""
    client: Any = getattr(host.connector, "client", None)
    transport: Any = client.get_transport() if hasattr(client, "get_transport") else None
    if transport is None:
        return
    transport.set_keepalive(EVERY)
    if hasattr(socket, "TCP_USER_TIMEOUT") and isinstance(transport.sock, socket.socket):  # a jump host's is a channel
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PATIENCE * 1000)
    host.connector.run_shell_command = _with_connection_errors(host.connector.run_shell_command)


def _with_connection_errors(run: Any) -> Any:
    """A connection that ends while a command is being sent raises paramiko's EOFError. pyinfra does not know that error: it would
    end the whole run with a traceback, although only one host has failed."""

    @wraps(run)
    def run_shell_command(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except EOFError:
            raise ConnectionResetError("the machine has ended the connection") from None

    return run_shell_command
