"""sd_notify(3), in a few lines; and in a pod, which has no systemd, the same as files for the kubelet's probes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from fleet_node.protocol import ALIVE_FILE, CONSUMES_FILE, READY_FILE

CONSUMES, CONSUMES_NOT = "X_FLEET_CONSUMES=1", "X_FLEET_CONSUMES=0"
"""Whether a worker takes tasks now. systemd ignores what begins with X_."""


def is_supervised() -> bool:
    """Whether somebody looks at what is notified."""
    return bool(os.environ.get("NOTIFY_SOCKET") or os.environ.get("FLEET_POD"))


def notify(*lines: str) -> None:
    """Send NAME=value lines to systemd, or leave them for the probes of a pod; do nothing if neither started the process."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto("\n".join(lines).encode(), "\0" + address[1:] if address.startswith("@") else address)
    elif os.environ.get("FLEET_POD"):
        leave(Path(os.environ["RUNTIME_DIRECTORY"]), lines)


def leave(folder: Path, lines: tuple[str, ...]) -> None:
    """Files that say the same: `ready` is there since the process is, `consumes` while the worker takes tasks, and `alive` is as
    old as the last sign of life. A process that stalls has none: the kubelet restarts it at its next look."""
    for line in lines:
        if line == "READY=1":
            (folder / READY_FILE).touch()
            (folder / ALIVE_FILE).touch()
        elif line == "WATCHDOG=1":
            (folder / ALIVE_FILE).touch()
        elif line == "WATCHDOG=trigger":
            (folder / ALIVE_FILE).unlink(missing_ok=True)
        elif line == CONSUMES:
            (folder / CONSUMES_FILE).touch()
        elif line in (CONSUMES_NOT, "STOPPING=1"):
            (folder / CONSUMES_FILE).unlink(missing_ok=True)
