"""Remote control commands of a worker, besides Celery's own.

No arguments of tasks are in their answers: some are secrets.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from time import time
from typing import Any

from celery.worker import state as worker_state
from celery.worker.control import control_command, inspect_command, scheduled

from fleet_node.patches import task_counts
from fleet_node.protocol import PROBE_TASK, WorkerSign, WorkerState
from fleet_node.worker import device
from fleet_node.worker.sign import consumed


@inspect_command()  # type: ignore[untyped-decorator]
def fleet_state(state: Any, **_: Any) -> WorkerState:
    """The worker's state."""
    active = state.tset(worker_state.active_requests)
    running = Counter(request.name for request in active)
    ended = sum(number for name, number in (worker_state.total_count - running).items() if name != PROBE_TASK)
    failures: Counter[str] = getattr(state.consumer.controller, "fleet_failures", None) or Counter()
    return {
        "queues": sorted(consumed(state.consumer)),
        "running": dict(running),
        "reserved": len(state.tset(worker_state.reserved_requests) - active),
        "eta": len(scheduled(state)),
        "accepted": sum(worker_state.total_count.values()),
        "succeeded": max(0, ended - failures.total()),
        "failed": failures[task_counts.FAILED],
        "unavailable": device.unavailable(),
        "release": os.environ.get("FLEET_RELEASE", ""),
        "revision": os.environ.get("FLEET_REVISION", ""),
    }


@inspect_command(args=[("counts", bool)])  # type: ignore[untyped-decorator]
def fleet_sign(state: Any, counts: bool = True, **_: Any) -> WorkerSign:
    """What the worker says of itself. counts: with what it has counted."""
    sign: WorkerSign = state.consumer.controller.fleet_sign(time(), counts)
    return sign


@inspect_command()  # type: ignore[untyped-decorator]
def fleet_own(state: Any, **_: Any) -> dict[str, list[str]]:
    """The queues that the worker consumes, without those of other roles that it is lent out for."""
    lent = state.consumer.controller.fleet_loans.plain(0)["queues"]
    return {"queues": sorted(set(consumed(state.consumer)).difference(lent))}


@control_command(args=[("queues", list), ("slots", int), ("seconds", float)])  # type: ignore[untyped-decorator]
def fleet_lend(state: Any, queues: Iterable[str] = (), slots: int = 0, seconds: float = 0.0, **_: Any) -> dict[str, Any]:
    """Lend the worker out (`fleet_node.worker.loans`), in place of what it is lent out for; without anything, no longer."""
    try:
        return {"ok": state.consumer.controller.fleet_loans.lend(queues, int(slots), float(seconds))}
    except (ValueError, TypeError) as error:
        return {"error": str(error)}


@control_command()  # type: ignore[untyped-decorator]
def fleet_drain(state: Any, **_: Any) -> dict[str, Any]:
    """Take nothing more from any queue, as cancel_consumer does for one queue. The tasks that the worker holds are finished."""
    state.consumer.controller.fleet_vitals.drains()
    queues = consumed(state.consumer)
    for queue in queues:
        state.consumer.call_soon(state.consumer.cancel_task_queue, queue)
    return {"ok": queues}
