"""Dead letters in Redis. To park a task is to put its message into the hash PARKED of the broker's database, as a ParkedTask
(`fleet_node.protocol`)."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from typing import Any

from redis import Redis, RedisError

from fleet_node.protocol import DELIVERIES, PARKED, SEND_AGAIN, ParkedTask

REMEMBERED = 7 * 86400
"""Seconds for which it is known how often a message was begun."""
LONGEST = 2000
"""Characters of arguments that are shown. The message itself is kept whole."""

_log = logging.getLogger("celery.worker.fleet")


class RedisLetters:
    """See DeadLetters. client: of the broker, that answers with text."""

    def __init__(self, client: Redis) -> None:
        self._redis = client

    def count(self) -> int:
        try:
            return int(self._redis.hlen(PARKED))
        except RedisError:
            return 0

    def park(self, message: Any, worker: str, begun: int, reason: str, unknown: bool = False) -> bool:
        task = dead_letter(message, worker, begun, reason)
        if unknown:
            task["unknown"] = True
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

    def deliveries(self, message: Any, most: int) -> tuple[int, str]:
        tag = message.delivery_tag
        try:
            begun, reason = self._redis.hmget(_key(tag), "begun", "reason")
        except RedisError as error:
            _log.warning("message %s: how often it came is not known: %s", tag, error)
            return 0, ""
        return int(begun or 0), str(reason or "")

    def record(self, message: Any, most: int, begun: int, reason: str = "") -> None:
        tag = message.delivery_tag
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.hincrby(_key(tag), "begun", begun)
                if reason:
                    pipeline.hset(_key(tag), "reason", reason)
                pipeline.expire(_key(tag), REMEMBERED)
                pipeline.execute()
        except RedisError as error:
            _log.warning("message %s: that it came again is not counted: %s", tag, error)

    def forget(self, message: Any) -> None:
        with suppress(RedisError):  # it is forgotten after REMEMBERED anyway
            self._redis.delete(_key(message.delivery_tag))


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


def _key(tag: str) -> str:
    return f"{DELIVERIES}{tag}"
