"""What the broker's database says of how long tasks wait. Nothing is changed; messages are not read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis

from fleet.broker import entries
from fleet.broker.look import queue_of
from fleet_node.protocol import AGES, CONSUMED, ListAge


@dataclass(frozen=True)
class Waiting:
    """Lists of the queues that workers consume, or have consumed and that are not empty. Their names are without the app's
    global_keyprefix."""

    now: float
    """Redis's time, in seconds since 1970."""
    queues: Mapping[str, str]
    """List → its queue."""
    ages: Mapping[str, ListAge]
    """By list, what the fleet last wrote down."""
    lengths: Mapping[str, int]
    """List → messages in it now."""


def read(client: Redis, prefix: str = "") -> Waiting:
    """Read it: three commands, and one a list, in two round trips. client: it answers with text. prefix: the app's
    global_keyprefix. Raises RedisError."""
    with client.pipeline(transaction=False) as pipeline:
        pipeline.zrange(prefix + CONSUMED, 0, -1)
        pipeline.hgetall(prefix + AGES)
        pipeline.time()
        consumed, ages, (seconds, microseconds) = pipeline.execute()
    queues: dict[str, str] = {name: queue_of(name.removeprefix(prefix)) for name in ages}
    queues |= {name: queue for queue, name in entries.consumed(consumed)}
    names = list(queues)
    with client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.llen(name)
        lengths: list[Any] = pipeline.execute(raise_on_error=False)
    return Waiting(
        now=int(seconds) + int(microseconds) / 1e6,
        queues={name.removeprefix(prefix): queue for name, queue in queues.items()},
        ages={name.removeprefix(prefix): entry for name, text in ages.items() if (entry := entries.list_age(text))},
        lengths={
            name.removeprefix(prefix): length if isinstance(length, int) else 0
            for name, length in zip(names, lengths, strict=True)
        },
    )
