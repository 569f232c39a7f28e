"""A worker's sign in Redis: what it says of itself, for whoever looks at the fleet. Nothing of delivery depends on it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from fleet_node.delivery.holdings import Holdings
from fleet_node.protocol import LEFT_MOST, LEFT_SECONDS

EVERY = 10.0
"""Seconds between two signs of a worker that does something: 0.1 commands a second."""
EVERY_COMING = 1.0
"""Seconds until the next look at what has changed while the worker consumes nothing: it may have just come."""
EVERY_IDLE = 60.0
"""The same of a worker in which nothing changes. Its lease says more often that it lives."""

RESTLESS = ("at", "memory")
"""What is different each time, and no reason to write."""

Sign = Callable[[float], Any]
"""Makes the sign (protocol.WorkerSign) at Redis's time."""


class Signs:
    """Of one worker, in the thread of its lease."""

    def __init__(self, holdings: Holdings, sign: Sign | None) -> None:
        self._holdings, self._sign = holdings, sign
        self._written: tuple[str, Any] | None = None
        self._due_anyway = self.due = float("-inf") if sign else float("inf")
        """Seconds since the machine's start at which the sign is looked at again."""

    def say(self, client: Redis, now: float) -> None:
        """Write the sign, if it has changed or is old. now: seconds since the machine's start. Raises what redis raises if there
        is no connection."""
        if self._sign is None or now < self.due:
            return
        sign = self._sign(self._holdings.now())
        self.due = now + (EVERY if sign["queues"] else EVERY_COMING)
        content = (self._holdings.holder, {name: value for name, value in sign.items() if name not in RESTLESS})
        if content == self._written and now < self._due_anyway:
            return
        try:
            client.hset(self._holdings.keys.signs, self._holdings.holder, json.dumps(sign, separators=(",", ":")))
            self._written, self._due_anyway = content, now + EVERY_IDLE
        except ResponseError as error:  # Redis is full
            self._holdings.remark(logging.DEBUG, f"the sign is not written: {error!r}")

    def leave(self, client: Redis) -> None:
        """The worker ends: its sign moves to those of workers that have left, with all that it has counted. Raises what redis
        raises if there is no connection."""
        keys, holder = self._holdings.keys, self._holdings.holder
        with client.pipeline(transaction=False) as pipeline:
            if entry := self._last():
                pipeline.lpush(keys.left, entry)
                pipeline.ltrim(keys.left, 0, LEFT_MOST - 1)
                pipeline.expire(keys.left, LEFT_SECONDS)
            pipeline.hdel(keys.signs, holder)
            pipeline.execute(raise_on_error=False)  # a Redis that is full takes no entry

    def _last(self) -> str:
        """The last sign, with its holder, as JSON; empty if there is none: a worker that ends is half taken apart."""
        try:
            sign = self._sign(self._holdings.now()) if self._sign else None
        except Exception as error:
            self._holdings.remark(logging.WARNING, f"what this worker has counted last is lost: {error!r}")
            return ""
        return json.dumps([self._holdings.holder, sign], separators=(",", ":")) if sign else ""
