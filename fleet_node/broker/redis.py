"""Redis, as kombu uses it: a queue is a list for each priority, and what is in flight is a hash."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from fleet_node.broker.redis_letters import RedisLetters
from fleet_node.delivery.clients import client_of_app
from fleet_node.protocol import UnregisteredTasks

CHUNK = 200
"""Messages that are read at a time."""
PATIENCE = 5.0
"""Seconds for Redis to answer."""


class RedisBroker:
    """See Broker."""

    def length(self, channel: Any, queue: str) -> int:
        return int(channel._size(queue))

    def unregistered(self, channel: Any, queues: Iterable[str], known: frozenset[str], patience: float) -> UnregisteredTasks:
        """Raises RedisError."""
        deadline = time.monotonic() + patience
        unregistered: dict[str, Counter[str]] = {}
        looked = left = 0
        client, prefix = channel.client, channel.global_keyprefix  # kombu adds it to the commands that it uses itself
        # First the messages that workers hold: they are few. Of which queue each came is not written there, so all of them count.
        held = client.hlen(channel.unacked_key)
        for name in _in_flight(client, prefix + channel.unacked_key, deadline):
            looked += 1
            if name not in known:
                unregistered.setdefault("in flight", Counter())[name] += 1
        left += max(0, held - looked)
        for queue in queues:
            for key in {channel._q_for_pri(queue, step) for step in channel.priority_steps}:
                length, start = client.llen(key), 0
                while start < length and time.monotonic() < deadline:
                    # From the head: workers take these next.
                    messages = client.lrange(prefix + key, max(0, length - start - CHUNK), length - start - 1)
                    for waiting in map(_name, messages):
                        if waiting is not None and waiting not in known:
                            unregistered.setdefault(queue, Counter())[waiting] += 1
                    start += CHUNK
                looked += min(start, length)
                left += max(0, length - start)
        tasks = {queue: dict(counts) for queue, counts in unregistered.items()}
        return {"unregistered": tasks, "looked_at": looked, "not_looked_at": left}

    def to_the_head(self, channel: Any, aside: str, queue: str) -> bool:
        message = channel.client.rpop(aside)
        if message is not None:
            channel.client.rpush(queue, message)
        return True

    def own_queue(self, name: str) -> tuple[Any, dict[str, Any]]:
        from kombu import Exchange, Queue  # type: ignore[attr-defined]  # kombu's types are unfinished

        return Queue(name, Exchange(name), routing_key=name), {}  # type: ignore[no-untyped-call]

    def delete_own_queue(self, channel: Any, name: str) -> None:
        """Delete a queue and its binding: kombu deletes only bindings that this process has declared."""
        own = self.own_queue(name)[0](channel)
        own.declare()
        own.delete()

    def dead_letters(self, app: Any) -> RedisLetters:
        return RedisLetters(client_of_app(app, patience=PATIENCE))

    def options(self, seconds: float) -> dict[str, Any]:
        return {"socket_timeout": seconds * 2, "socket_connect_timeout": seconds}


def _in_flight(client: Any, key: str, deadline: float) -> Iterator[str]:
    """The task of each message that a worker holds."""
    cursor = 0
    while time.monotonic() < deadline:
        cursor, entries = client.hscan(key, cursor, count=CHUNK)
        for entry in entries.values():
            try:
                yield json.loads(entry)[0]["headers"]["task"]
            except (ValueError, KeyError, TypeError, IndexError):
                continue
        if not cursor:
            return


def _name(message: bytes) -> str | None:
    """The task of a message; None if Celery did not send it."""
    try:
        name = json.loads(message)["headers"]["task"]
    except (ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None
