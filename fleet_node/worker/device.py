"""A worker and its NVIDIA device. A worker takes no task as long as `fleet_node.gpu_watch` says that its device is unavailable:
every task would fail."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def unavailable() -> str:
    """Why this worker's device is not to be used; empty if it is well, if there is none, or if nobody watches it."""
    device, path = os.environ.get("FLEET_GPU"), os.environ.get("FLEET_GPU_STATE")
    if not (device and path):
        return ""
    try:
        state = json.loads(Path(path).read_text())
        # A watch of an earlier version may still run beside a new worker: it writes "away". Delete that when none can any more.
        reasons = state["unavailable"] if "unavailable" in state else state["away"]
        why, known = reasons.get(device, ""), state.get("known")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    if known and device not in known:  # it died before this boot of the machine
        return "nvidia-smi does not list it"
    return str(why)


def take_nothing_if_unavailable(app: Any) -> None:
    """Have a worker that has not connected yet begin without a queue. It is ready then, and ends when the device is back."""
    if unavailable():
        for queue in list(app.amqp.queues.consume_from):
            app.amqp.queues.deselect(queue)
