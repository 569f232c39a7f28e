"""Tell systemd the truth about this worker. Imported into it by `celery worker -I fleet_node.notify`.

READY when it consumes, STOPPING when it drains: with Type=notify, `systemctl start` then succeeds only for a worker that
reached its broker. Without NOTIFY_SOCKET (a worker started by hand) nothing happens.
"""

import os
import socket
from typing import Any

from celery.signals import worker_ready, worker_shutting_down


def notify(state: str) -> None:
    """Send `state` (sd_notify(3)) to systemd, where it started us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(sender: Any, **_: Any) -> None:
    notify(f"READY=1\nSTATUS=consuming as {sender.hostname}")


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stopping(how: str, **_: Any) -> None:
    notify(f"STOPPING=1\nSTATUS=draining ({how})")
