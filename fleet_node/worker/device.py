"""A worker and its device: one that is away (see `fleet_node.gpu_watch`) is no reason to take tasks that will all fail."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def away() -> str:
    """Why this worker's device is not to be used; empty where it is well, where there is none, or where nobody watches it."""
    device, state = os.environ.get("FLEET_GPU"), os.environ.get("FLEET_GPU_STATE")
    if not (device and state):
        return ""
    try:
        told = json.loads(Path(state).read_text())
        why, known = told["away"].get(device, ""), told.get("known")
    except (OSError, ValueError, KeyError, AttributeError):
        return ""
    if known and device not in known:  # it died before this boot of the machine
        return "nvidia-smi does not list it"
    return str(why)


def take_nothing_if_away(app: Any) -> None:
    """Have a worker that has not connected yet begin without a queue. It is ready then, and ends when the device is back."""
    if away():
        for queue in list(app.amqp.queues.consume_from):
            app.amqp.queues.deselect(queue)
