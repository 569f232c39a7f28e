"""What a worker says of itself: to Redis every few seconds, and when it is asked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from time import time
from typing import Any

from celery.worker import state
from celery.worker.request import Request

from fleet_node.delivery.holdings import started, uptime
from fleet_node.patches import pool_of
from fleet_node.protocol import OVERDUE, PROBE_TASK, WorkerSign
from fleet_node.worker import cgroup, device

TICKS = os.sysconf("SC_CLK_TCK")
MOST_BEGUN = 100
"""Running tasks of which the sign says when they began."""


def sign_of(worker: Any, now: float, counts: bool = True) -> WorkerSign:
    """The sign of a celery WorkController. now: Redis's time. counts: with what it has counted. May be called from any thread."""
    consumer = worker.consumer
    active = _copy(state.active_requests)
    reserved = set(_copy(state.reserved_requests)).difference(active)
    eta = waiting_for_eta(consumer)
    counters = getattr(worker, "fleet_counters", None)
    wall = time()
    sign: WorkerSign = {
        "node": worker.hostname,
        "at": round(now, 3),
        "started_at": vars(worker).setdefault("fleet_started_at", round(now - age(), 3)),  # the same each time: clocks drift
        "release": os.environ.get("FLEET_RELEASE", ""),
        "revision": os.environ.get("FLEET_REVISION", ""),
        "pool": pool_of(worker),
        "slots": slots(worker),
        "queues": sorted(consumed(consumer)),
        "running": dict(Counter(request.name for request in active)),
        "begun": begun(active, now - wall),
        "reserved": len(reserved),
        "eta": len(eta),
        "held": by_queue(active, reserved, eta),
        "draining": worker.fleet_vitals.is_draining,
        "unavailable": device.unavailable(),
        "overdue": sum(is_overdue(request, wall) for request in active),
        "memory": cgroup.number("memory.current"),
        "memory_max": cgroup.number("memory.max"),
        "oom_kills": cgroup.oom_kills(),
        "tasks": counters.plain(by_task(*reserved, *eta)) if counters and counts else [],
    }
    if worker.fleet_loans:
        sign["lent"] = worker.fleet_loans.plain(now)
    return sign


def slots(worker: Any) -> int:
    """Tasks that a worker runs at once."""
    own = 1 if pool_of(worker) == "solo" else int(worker.concurrency)
    return own + int(worker.fleet_loans.grown)


def is_overdue(request: Any, wall: float) -> bool:
    """Whether a task still runs long after its hard time limit. wall: this machine's time."""
    limit = request.time_limits[0] or request.task.time_limit
    return bool(limit and request.time_start and wall - request.time_start > limit + OVERDUE)


def consumed(consumer: Any) -> list[str]:
    """The queues that a worker consumes now."""
    return [queue.name for queue in consumer.task_consumer.queues] if consumer and consumer.task_consumer else []


def waiting_for_eta(consumer: Any) -> list[Any]:
    """The requests that a worker holds for their ETA."""
    timer = consumer.timer if consumer else None
    entries = tuple(timer.schedule.queue) if timer else ()
    return [arg for scheduled in entries for arg in scheduled.entry.args if isinstance(arg, Request)]


def begun(active: Iterable[Any], ahead: float) -> dict[str, list[int]]:
    """protocol.WorkerSign.begun. ahead: seconds that Redis's clock is ahead of this machine's."""
    times: dict[str, list[int]] = {}
    known = sorted((request.time_start, request.name) for request in active if request.time_start)
    for started_at, name in known[:MOST_BEGUN]:
        times.setdefault(name, []).append(round(started_at + ahead))
    return times


def by_task(*requests: Any) -> Counter[tuple[str, str]]:
    """(task, queue) → how many of these requests; probe tasks are left out."""
    named = (request for request in requests if request.name != PROBE_TASK)
    return Counter((request.name, str(request.delivery_info.get("routing_key") or "")) for request in named)


def by_queue(*groups: Iterable[Any]) -> dict[str, list[int]]:
    """Queue → how many requests of each group came from it."""
    numbers: dict[str, list[int]] = {}
    groups = tuple(groups)
    for index, group in enumerate(groups):
        for request in group:
            queue = str(request.delivery_info.get("routing_key") or "")
            numbers.setdefault(queue, [0] * len(groups))[index] += 1
    return numbers


def age() -> float:
    """Seconds since this process started."""
    return uptime() - int(started(os.getpid()) or 0) / TICKS


def _copy(requests: Any) -> tuple[Any, ...]:
    """Of a set that another thread may change meanwhile."""
    for _ in range(5):
        try:
            return tuple(requests)
        except RuntimeError:
            continue
    return ()
