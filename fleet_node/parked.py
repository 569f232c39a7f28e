"""Tasks that took their worker down, again and again, end in a list of their own instead of circling for ever.

A message that comes a second time carries a mark of the transport's (`redelivered`). Only such messages are counted, each time
that one begins; what a stop gave back unbegun is not. One that comes once more than FLEET_MAX_DELIVERIES allows is parked: put
into the hash `fleet.parked` of the broker's database (field: the task's id; value: the JSON of `entry()`), its result a failure.
`fleet parked` lists them, sends them again, or drops them.
"""

from __future__ import annotations

import json
import logging
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

from celery.exceptions import Reject, WorkerLostError
from celery.utils.imports import symbol_by_name
from celery.worker.strategy import default
from redis import Redis, RedisError

PARKED = "fleet.parked"
KEPT = 7 * 86400
"""Seconds for which it is known how often a task came."""
PATIENCE = 5.0
"""Seconds for the broker to answer. Where it does not, the task runs: better once too often than never."""
LONGEST = 2000
"""Characters of arguments that are shown. The message itself is kept whole."""

_log = logging.getLogger("celery.worker.fleet")


@cache
def _redis() -> Redis:
    return Redis.from_url(
        os.environ["CELERY_BROKER_URL"], decode_responses=True, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE
    )


def watch(app: Any) -> None:
    """Have every task of the app counted and, when it must be, parked. To be called before the worker connects."""
    if int(os.environ.get("FLEET_MAX_DELIVERIES") or 0) < 1:
        return
    _killed_for_memory()  # what was killed before us is not ours
    for task in app.tasks.values():
        kind = type(task)
        # A strategy of the app's own does with its messages what it wants.
        if kind.Strategy == "celery.worker.strategy:default":
            kind.Strategy = "fleet_node.parked:strategy"
            kind.Request = _counting(symbol_by_name(kind.Request))


def strategy(task: Any, app: Any, consumer: Any, **more: Any) -> Any:
    """Celery's own strategy, for messages that may run."""
    handle = default(task, app, consumer, **more)
    most = int(os.environ["FLEET_MAX_DELIVERIES"])

    def handle_or_park(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        if message.headers.get("redelivered"):
            begun, reason = _known(message.headers.get("id", ""))
            if begun >= most and _park(task, app, consumer, message, begun, reason):
                message.ack_log_error(_log, consumer.connection_errors)
                return None
        return handle(message, body, ack, reject, callbacks, **more)

    return handle_or_park


@cache
def _counting(base: type) -> type:
    class Counting(base):  # type: ignore[misc]
        """A request that counts how often its message came."""

        def on_accepted(self, pid: int, time_accepted: float) -> None:
            if self._message.headers.get("redelivered"):
                _count(self.id, 1)
            super().on_accepted(pid, time_accepted)

        def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
            error = getattr(exc_info.exception, "exc", exc_info.exception)
            if isinstance(error, (WorkerLostError, SystemExit)):
                _count(self.id, 0, f"{error or 'its process exited'}{_killed_for_memory()}")
            elif isinstance(error, Reject) and self._message.headers.get("redelivered"):
                _count(self.id, -1)  # it was put off by itself, and took nobody with it
            return super().on_failure(exc_info, *args, **kwargs)

    return Counting


def _key(task_id: str) -> str:
    return f"fleet.deliveries.{task_id}"


def _known(task_id: str) -> tuple[int, str]:
    try:
        begun, reason = _redis().hmget(_key(task_id), "begun", "reason")
    except RedisError as error:
        _log.warning("%s: how often it came is not known: %s", task_id, error)
        return 0, ""
    return int(begun or 0), str(reason or "")


def _count(task_id: str, more: int, reason: str = "") -> None:
    try:
        with _redis().pipeline() as pipeline:
            pipeline.hincrby(_key(task_id), "begun", more)
            if reason:
                pipeline.hset(_key(task_id), "reason", reason)
            pipeline.expire(_key(task_id), KEPT)
            pipeline.execute()
    except RedisError as error:
        _log.warning("%s: that it came again is not counted: %s", task_id, error)


def _park(task: Any, app: Any, consumer: Any, message: Any, begun: int, reason: str) -> bool:
    reason = reason or "its worker ended before it did"
    one = entry(message, consumer.hostname, begun, reason)
    try:
        _redis().hset(PARKED, one["id"], json.dumps(one))
    except RedisError as error:
        _log.error("%s[%s] is to be parked, and cannot be: %s", one["task"], one["id"], error)
        return False
    told = f"parked after {begun} redeliveries: {reason}"
    _log.critical("Task %s[%s] %s", one["task"], one["id"], told)
    try:  # whoever waits for its result hears of it
        request = symbol_by_name(task.Request)(message, app=app, task=task, hostname=consumer.hostname, decoded=False)
        app.backend.mark_as_failure(one["id"], WorkerLostError(told), request=request._context, store_result=request.store_errors)
    except Exception as error:  # a backend that is away, a message that cannot be read: it is parked all the same
        _log.warning("%s[%s]: its result is not told: %s", one["task"], one["id"], error)
    return True


def entry(message: Any, worker: str, begun: int, reason: str) -> dict[str, Any]:
    """What is kept of a message: for people (id, task, args, kwargs, queue, redelivered, reason, worker, at: seconds since
    1970), and to send it again (key: the list it came from; message: all of it)."""
    headers, raw = message.headers, message._raw
    channel, delivery = message.channel, raw["properties"]["delivery_info"]
    queue = next(iter(channel._lookup(delivery.get("exchange", ""), delivery["routing_key"])), delivery["routing_key"])
    return {
        "id": headers["id"],
        "task": headers.get("task", ""),
        "args": str(headers.get("argsrepr") or "")[:LONGEST],
        "kwargs": str(headers.get("kwargsrepr") or "")[:LONGEST],
        "queue": queue,
        "redelivered": begun,
        "reason": reason,
        "worker": worker,
        "at": round(time.time(), 3),
        "key": channel._q_for_pri(queue, channel._get_message_priority(raw, reverse=False)),
        "message": raw,
    }


_seen_killed: list[int | None] = [None]


def _killed_for_memory() -> str:
    """Says so where the kernel has killed one of ours for memory since the last time."""
    try:
        group = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
        lines = Path(f"/sys/fs/cgroup{group}/memory.events").read_text().split()
        now = int(lines[lines.index("oom_kill") + 1])
    except (OSError, ValueError, IndexError):
        return ""
    before, _seen_killed[0] = _seen_killed[0], now
    return " (killed for memory: the unit's MemoryMax)" if before is not None and now > before else ""
