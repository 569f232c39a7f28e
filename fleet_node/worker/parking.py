"""Dead letters: tasks that no worker can run are parked, instead of circling for ever or being thrown away.

A task is parked if it took its worker down again and again, or if a release does not have it. To park a task is to put its
message into the hash PARKED of the broker's database, as a ParkedTask (`fleet_node.protocol`). `fleet parked` lists them, sends
them again, or drops them. `fleet_node.patches.parking` decides which tasks are parked.
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis import Redis, RedisError

from fleet_node.protocol import DELIVERIES, PARKED, SEND_AGAIN, ParkedTask

REMEMBERED = 7 * 86400
"""Seconds for which it is known how often a message was begun."""
PATIENCE = 5.0
"""Seconds for the broker to answer. If it does not, the task runs: better once too often than never."""
LONGEST = 2000
"""Characters of arguments that are shown. The message itself is kept whole."""

_log = logging.getLogger("celery.worker.fleet")


class DeadLetters:
    """The dead letters of a broker, and how often each message was begun. client: of the broker, that answers with text."""

    def __init__(self, client: Redis) -> None:
        self._redis = client

    def count(self) -> int:
        """How many tasks are parked; 0 if the broker does not answer."""
        try:
            return int(self._redis.hlen(PARKED))
        except RedisError:
            return 0

    def put(self, task: ParkedTask) -> bool:
        """Park a task. Returns whether the broker took it."""
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.hset(PARKED, task["field"], json.dumps(task))
                pipeline.delete(_key(task["field"]))
                pipeline.execute()
        except RedisError as error:
            _log.error("%s[%s] is to be parked, and cannot be: %s", task["task"], task["id"], error)
            return False
        return True

    def send_unknown_again(self, app: Any) -> int:
        """Send again the tasks that were parked as unknown and that `app` has. Returns how many. For a worker that is ready."""
        sent = 0
        try:
            for text in self._redis.hvals(PARKED):
                task: ParkedTask = json.loads(text)
                if task.get("unknown") and task["task"] in app.tasks:
                    keys = (PARKED, task["key"], _key(task["field"]))
                    sent += int(self._redis.eval(SEND_AGAIN, len(keys), *keys, task["field"], json.dumps(task["message"])))
        except RedisError as error:
            _log.warning("what was parked as unknown is not looked for: %s", error)
        if sent:
            _log.warning("%s parked tasks that another release did not have are sent again", sent)
        return sent

    def deliveries(self, tag: str) -> tuple[int, str]:
        """How often a redelivered message was begun, and why it came back. (0, "") if the broker does not answer."""
        try:
            begun, reason = self._redis.hmget(_key(tag), "begun", "reason")
        except RedisError as error:
            _log.warning("message %s: how often it came is not known: %s", tag, error)
            return 0, ""
        return int(begun or 0), str(reason or "")

    def record(self, tag: str, begun: int, reason: str = "") -> None:
        """Count that a redelivered message was begun (`begun` times more), or record why it came back."""
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.hincrby(_key(tag), "begun", begun)
                if reason:
                    pipeline.hset(_key(tag), "reason", reason)
                pipeline.expire(_key(tag), REMEMBERED)
                pipeline.execute()
        except RedisError as error:
            _log.warning("message %s: that it came again is not counted: %s", tag, error)

    def forget(self, tag: str) -> None:
        """Forget how often a message was begun: its task has ended in order."""
        with suppress(RedisError):  # it is forgotten after REMEMBERED anyway
            self._redis.delete(_key(tag))


def dead_letter(message: Any, worker: str, begun: int, reason: str) -> ParkedTask:
    """The ParkedTask of a kombu message. worker: the node that parks it. begun: how often it was redelivered and begun."""
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


class MemoryKills:
    """The processes of this worker's cgroup that the kernel has killed for memory."""

    def __init__(self) -> None:
        self._count = _memory_kills()

    def happened(self) -> bool:
        """Whether the kernel has killed a process since the last call, or since the start."""
        now = _memory_kills()
        if now is None:
            return False
        before, self._count = self._count, now
        return before is not None and now > before


def _memory_kills() -> int | None:
    try:
        group = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
        lines = Path(f"/sys/fs/cgroup{group}/memory.events").read_text().split()
        return int(lines[lines.index("oom_kill") + 1])
    except (OSError, ValueError, IndexError):
        return None


def _key(tag: str) -> str:
    return f"{DELIVERIES}{tag}"
