"""What a worker says of itself, and does, over Celery's remote control, besides what Celery has.

No arguments of tasks are told: some are secrets.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

from celery.exceptions import Ignore, Reject, Retry
from celery.worker import state as worker_state
from celery.worker.control import control_command, inspect_command, scheduled
from celery.worker.request import Request

from fleet_node.worker import device

OURS = ("fleet.probe",)
"""Tasks that say nothing about the app."""

_ended: Counter[str] = Counter()
"""Tasks of the app's that this worker has ended: `failed`, and `put off` (they ask again later, or said to be ignored)."""


_on_drain: list[Callable[[], None]] = []


def when_drained(call: Callable[[], None]) -> None:
    """Have it called when somebody asks this worker to drain."""
    _on_drain[:] = [call]


def count_failures() -> None:
    """Count them from now on. To be called before the worker takes a task, in its main process.

    Celery tells nobody in the main process how a task of a prefork child ended, unless task events are on (30 to 45 % of the
    throughput). So what it calls when one failed is wrapped (celery 5.7.0, celery/worker/request.py).
    """
    on_failure, on_timeout = Request.on_failure, Request.on_timeout

    def failed(self: Any, exc_info: Any, *args: Any, **more: Any) -> Any:
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if self.name not in OURS:
            # One that tries again because of an exception has failed; one that asks again later, without any, has not.
            put_off = isinstance(error, (Ignore, Reject)) or (isinstance(error, Retry) and not error.exc)
            _ended["put off" if put_off else "failed"] += 1
        return on_failure(self, exc_info, *args, **more)

    def timed_out(self: Any, soft: bool, timeout: float) -> Any:
        if not soft and self.name not in OURS:
            _ended["failed"] += 1
        return on_timeout(self, soft, timeout)

    Request.on_failure, Request.on_timeout = failed, timed_out


@inspect_command()  # type: ignore[untyped-decorator]
def fleet_state(state: Any, **_: Any) -> dict[str, Any]:
    """{"queues": names, "running": {task: number}, "reserved": number, "eta": number, "accepted": number of tasks begun so far,
    "succeeded", "failed": how they ended, "away": why its device is not to be used, "release", "revision"}."""
    active = state.tset(worker_state.active_requests)
    running = Counter(one.name for one in active)
    ended = sum(number for name, number in (worker_state.total_count - running).items() if name not in OURS)
    return {
        "queues": sorted(_consumed(state.consumer)),
        "running": dict(running),
        "reserved": len(state.tset(worker_state.reserved_requests) - active),
        "eta": len(scheduled(state)),
        "accepted": sum(worker_state.total_count.values()),
        "succeeded": max(0, ended - _ended.total()),
        "failed": _ended["failed"],
        "unavailable": device.unavailable(),
        "release": os.environ.get("FLEET_RELEASE", ""),
        "revision": os.environ.get("FLEET_REVISION", ""),
    }


@control_command()  # type: ignore[untyped-decorator]
def fleet_drain(state: Any, **_: Any) -> dict[str, Any]:
    """Take nothing more from any queue; what is held is finished. As cancel_consumer does, for all queues at once."""
    for call in _on_drain:
        call()
    queues = _consumed(state.consumer)
    for queue in queues:
        state.consumer.call_soon(state.consumer.cancel_task_queue, queue)
    return {"ok": queues}


def _consumed(consumer: Any) -> list[str]:
    return [queue.name for queue in consumer.task_consumer.queues] if consumer.task_consumer else []
