"""How long the oldest task of each queue waits, and how well that is known, as Redis says. Messages are not read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis

from fleet.broker import entries
from fleet.broker.keys import priority, queue_of
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


@dataclass(frozen=True)
class Age:
    """How long a task waits: not less than `least` and not more than `most`, in seconds. most: None if that is not known."""

    least: float
    most: float | None

    @property
    def seconds(self) -> float:
        """One number for it. Usually the middle: then it is not off by more than half of what lies between."""
        return self.least + (1.0 if self.most is None else min(1.0, self.most - self.least)) / 2


@dataclass(frozen=True)
class QueueAge:
    """What waits in one queue."""

    waiting: dict[int, int]
    """Priority as kombu has it (0 is taken first, 9 last) → tasks that wait, for priorities of which there is a list."""
    oldest: Age | None
    """How long the oldest task waits whose ETA is not in the future; None if there is none, or nobody knows."""
    looked: float | None = None
    """Seconds since a worker last looked at the queue; None if none has. Workers look every second while tasks wait."""
    is_aged: bool = True
    """Whether the broker knows how long tasks wait."""


def ages(waiting: Waiting) -> dict[str, QueueAge]:
    """By queue, what waits in it."""
    lists: defaultdict[str, list[str]] = defaultdict(list)
    for name, queue in waiting.queues.items():
        lists[queue].append(name)
    return {queue: _of_queue(names, waiting) for queue, names in sorted(lists.items())}


def _of_queue(names: list[str], waiting: Waiting) -> QueueAge:
    known = [entry for name in names if (entry := waiting.ages.get(name))]
    ages_of_lists = [age_of(waiting.ages.get(name), waiting.lengths[name], waiting.now) for name in names]
    return QueueAge(
        waiting=dict(sorted((priority(name), waiting.lengths[name]) for name in names)),
        oldest=_oldest([age for age in ages_of_lists if age is not None]),
        looked=max(0.0, waiting.now - max(entry["at"] for entry in known)) if known else None,
    )


def _oldest(ages_of_lists: list[Age]) -> Age | None:
    if not ages_of_lists:
        return None
    most = [age.most for age in ages_of_lists if age.most is not None]
    return Age(max(age.least for age in ages_of_lists), max(most) if len(most) == len(ages_of_lists) else None)


def age_of(entry: ListAge | None, length: int, now: float) -> Age | None:
    """How long the oldest task of one list waits that is due; None if there is none.

    entry: what the fleet last wrote down of the list; None if it has not. length: messages in it now. now: Redis's time. What
    came since then is not older than that; what was the oldest then is the oldest as long as the list is not empty.
    """
    if length == 0:
        return None
    if entry is None:
        return Age(0.0, None)
    if entry["latest"] is None:
        return Age(0.0, max(0.0, now - entry["at"])) if length > entry["length"] else None
    return Age(max(0.0, now - entry["latest"]), max(0.0, now - entry["earliest"]) if entry["earliest"] else None)
