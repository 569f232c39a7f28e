"""SSH connections that notice when the machine is gone: pyinfra's wait for ever, unless ssh_config says otherwise."""

from __future__ import annotations

import socket
from functools import wraps
from typing import Any

EVERY = 15
"""Seconds between two signs of life."""
PATIENCE = 60
"""Seconds without an acknowledgement (TCP's) after which a machine counts as gone. One that has rebooted says so sooner."""


def notice_when_gone(host: Any) -> None:
    """Have the connection of a pyinfra host end where its machine does not acknowledge any more. Nothing where it is not SSH."""
    client: Any = getattr(host.connector, "client", None)
    transport: Any = client.get_transport() if hasattr(client, "get_transport") else None
    if transport is None:
        return
    transport.set_keepalive(EVERY)
    if hasattr(socket, "TCP_USER_TIMEOUT") and isinstance(transport.sock, socket.socket):  # a jump host's is a channel
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PATIENCE * 1000)
    host.connector.run_shell_command = _told_as_an_os_error(host.connector.run_shell_command)


def _told_as_an_os_error(run: Any) -> Any:
    """A connection that ends while a command is being sent is an EOFError of paramiko's. pyinfra does not know that one: it would
    end the whole run by a traceback, where a host that failed is what it is."""

    @wraps(run)
    def run_shell_command(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except EOFError:
            raise ConnectionResetError("the machine has ended the connection") from None

    return run_shell_command
