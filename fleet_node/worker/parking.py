"""Tasks that nobody here can run end in a list of their own, instead of circling for ever or being thrown away.

Those that took their worker down, again and again: a message that comes a second time carries a mark of the transport's. Only
such messages are counted, each time that one begins, until it ends in order; what a stop gave back unbegun is not. One that comes
once more than FLEET_MAX_DELIVERIES allows is parked, its result a failure.

Those that this release does not have: while a rollout goes on, an old worker gets what a new one sends. They are parked without a
result, and sent again by the first worker to come up that has them.

Parked is: put into the hash `fleet.parked` of the broker's database, the JSON of `entry()` by the message's delivery tag.
`fleet parked` lists them, sends them again, or drops them.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from celery.exceptions import Reject, WorkerLostError
from celery.utils.imports import symbol_by_name
from celery.worker.consumer.consumer import Consumer
from celery.worker.strategy import default
from redis import Redis, RedisError

PARKED = "fleet.parked"
KEPT = 7 * 86400
"""Seconds for which it is known how often a task came."""
PATIENCE = 5.0
"""Seconds for the broker to answer. Where it does not, the task runs: better once too often than never."""
LONGEST = 2000
"""Characters of arguments that are shown. The message itself is kept whole."""
MOST_UNKNOWN = 10_000
"""Parked tasks above which one that is not known is thrown away, as Celery does: somebody sends them all the time."""
SEND_AGAIN = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[2])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[3])
return 1
"""
"""Lua: parked → its queue, once, whoever else tries; a Redis that is full refuses it whole. KEYS: the list of parked ones, the
queue's, the count's; ARGV: the field, the message."""

_log = logging.getLogger("celery.worker.fleet")


@cache
def _redis() -> Redis:
    return Redis.from_url(
        os.environ["CELERY_BROKER_URL"], decode_responses=True, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE
    )


def watch(app: Any) -> None:
    """Have what is not a task of the app parked, and every task of it counted. To be called before the worker connects."""
    Consumer.on_unknown_task = _park_unknown
    if int(os.environ.get("FLEET_MAX_DELIVERIES") or 0) < 1:
        return
    _killed_for_memory()  # what was killed before us is not ours
    for task in app.tasks.values():
        kind = type(task)
        # A strategy of the app's own does with its messages what it wants.
        if kind.Strategy == "celery.worker.strategy:default":
            kind.Strategy = "fleet_node.worker.parking:strategy"
            kind.Request = _counting(symbol_by_name(kind.Request))


def strategy(task: Any, app: Any, consumer: Any, **more: Any) -> Any:
    """Celery's own strategy, for messages that may run."""
    handle = default(task, app, consumer, **more)
    most = int(os.environ["FLEET_MAX_DELIVERIES"])

    def handle_or_park(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        if _came_again(message):
            begun, reason = _known(message.delivery_tag)
            if begun >= most and _park(task, app, consumer, message, begun, reason):
                message.ack_log_error(_log, consumer.connection_errors)
                return None
        return handle(message, body, ack, reject, callbacks, **more)

    return handle_or_park


def _came_again(message: Any) -> bool:
    """By the mark that the transport gives this very message: its copy among the headers goes on into every retry."""
    return bool((message.delivery_info or {}).get("redelivered"))


@cache
def _counting(base: type) -> type:
    class Counting(base):  # type: ignore[misc]
        """A request that counts how often its message came, until it ends in order."""

        def on_accepted(self, pid: int, time_accepted: float) -> None:
            if _came_again(self._message):
                _count(self._message.delivery_tag, 1)
            super().on_accepted(pid, time_accepted)

        def acknowledge(self) -> None:
            if not self.acknowledged and _came_again(self._message):
                _forget(self._message.delivery_tag)
            super().acknowledge()

        def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
            error = getattr(exc_info.exception, "exc", exc_info.exception)
            if isinstance(error, (WorkerLostError, SystemExit)):
                _count(self._message.delivery_tag, 0, f"{error or 'its process exited'}{_killed_for_memory()}")
            elif isinstance(error, Reject) and _came_again(self._message):
                _forget(self._message.delivery_tag)  # it was put off by itself, and took nobody with it
            return super().on_failure(exc_info, *args, **kwargs)

    return Counting


def _key(tag: str) -> str:
    return f"fleet.deliveries.{tag}"


def _known(tag: str) -> tuple[int, str]:
    try:
        begun, reason = _redis().hmget(_key(tag), "begun", "reason")
    except RedisError as error:
        _log.warning("message %s: how often it came is not known: %s", tag, error)
        return 0, ""
    return int(begun or 0), str(reason or "")


def _count(tag: str, more: int, reason: str = "") -> None:
    try:
        with _redis().pipeline() as pipeline:
            pipeline.hincrby(_key(tag), "begun", more)
            if reason:
                pipeline.hset(_key(tag), "reason", reason)
            pipeline.expire(_key(tag), KEPT)
            pipeline.execute()
    except RedisError as error:
        _log.warning("message %s: that it came again is not counted: %s", tag, error)


def _forget(tag: str) -> None:
    with suppress(RedisError):  # it is forgotten after KEPT anyway
        _redis().delete(_key(tag))


def _park(task: Any, app: Any, consumer: Any, message: Any, begun: int, reason: str) -> bool:
    reason = reason or "its worker ended before it did"
    one = entry(message, consumer.hostname, begun, reason)
    if not _put_aside(one):
        return False
    told = f"parked after {begun} redeliveries: {reason}"
    _log.critical("Task %s[%s] %s", one["task"], one["id"], told)
    try:  # whoever waits for its result hears of it
        request = symbol_by_name(task.Request)(message, app=app, task=task, hostname=consumer.hostname, decoded=False)
        app.backend.mark_as_failure(one["id"], WorkerLostError(told), request=request._context, store_result=request.store_errors)
    except Exception as error:  # a backend that is away, a message that cannot be read: it is parked all the same
        _log.warning("%s[%s]: its result is not told: %s", one["task"], one["id"], error)
    return True


def _put_aside(one: Mapping[str, Any]) -> bool:
    try:
        with _redis().pipeline() as pipeline:
            pipeline.hset(PARKED, one["field"], json.dumps(one))
            pipeline.delete(_key(one["field"]))
            pipeline.execute()
    except RedisError as error:
        _log.error("%s[%s] is to be parked, and cannot be: %s", one["task"], one["id"], error)
        return False
    return True


_on_unknown_task = Consumer.on_unknown_task


def _park_unknown(consumer: Any, body: Any, message: Any, exc: Any) -> Any:
    """In place of Consumer.on_unknown_task, which throws it away."""
    try:
        many = _redis().hlen(PARKED)
    except RedisError:
        many = 0
    if many >= MOST_UNKNOWN:
        _log.critical("%s tasks are parked: one that is not known is thrown away", many)
    if many >= MOST_UNKNOWN or not (message.headers or {}).get("id"):  # messages of Celery 3 have their id in the body
        return _on_unknown_task(consumer, body, message, exc)
    release = os.environ.get("FLEET_RELEASE") or "this worker"
    one = {**entry(message, consumer.hostname, 0, f"no task of {release}"), "unknown": True}
    if _put_aside(one):  # else it stays with us, and goes back when we end
        _log.error("Task %s[%s] parked: no task of %s. A worker that has it sends it again", one["task"], one["id"], release)
        message.ack_log_error(_log, consumer.connection_errors)
    return None


def take_back(app: Any) -> int:
    """Send again what was parked since it was not known, and is a task of `app`'s; how many. For when a worker is ready."""
    sent = 0
    try:
        for text in _redis().hvals(PARKED):
            one = json.loads(text)
            if one.get("unknown") and one["task"] in app.tasks:
                keys = (PARKED, one["key"], _key(one["field"]))
                sent += int(_redis().eval(SEND_AGAIN, len(keys), *keys, one["field"], json.dumps(one["message"])))
    except RedisError as error:
        _log.warning("what was parked as unknown is not looked for: %s", error)
    if sent:
        _log.warning("%s parked tasks that another release did not have are sent again", sent)
    return sent


def entry(message: Any, worker: str, begun: int, reason: str) -> dict[str, Any]:
    """What is kept of a message: for people (id, task, args, kwargs, queue, redelivered, reason, worker, at and expires: seconds
    since 1970, and as Celery writes it), and to send it again (field: where it is kept; key: the list it came from; message: all
    of it)."""
    headers, raw = message.headers, message._raw
    channel, delivery = message.channel, raw["properties"]["delivery_info"]
    queue = next(iter(channel._lookup(delivery.get("exchange", ""), delivery["routing_key"])), delivery["routing_key"])
    return {
        "field": message.delivery_tag,
        "id": headers["id"],
        "task": headers.get("task", ""),
        "args": str(headers.get("argsrepr") or "")[:LONGEST],
        "kwargs": str(headers.get("kwargsrepr") or "")[:LONGEST],
        "queue": queue,
        "redelivered": begun,
        "reason": reason,
        "worker": worker,
        "at": round(time.time(), 3),
        "expires": headers.get("expires"),
        "key": channel.global_keyprefix + channel._q_for_pri(queue, channel._get_message_priority(raw, reverse=False)),
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
