"""sd_notify(3), in a few lines."""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> None:
    """Send NAME=value lines to systemd; do nothing if systemd did not start the worker."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto("\n".join(lines).encode(), "\0" + address[1:] if address.startswith("@") else address)
