"""How long the oldest task of each queue waits, and how well that is known."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from fleet.broker.ages import Waiting
from fleet.broker.look import PRIORITY
from fleet_node.protocol import ListAge


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
    """How long the oldest task waits whose ETA is not in the future; None if there is none."""
    looked: float | None
    """Seconds since a worker last looked at the queue; None if none has. Workers look every second while tasks wait."""


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


def priority(name: str) -> int:
    """The priority of a list: kombu's name for it ends with it, but for 0."""
    number = name.partition(PRIORITY)[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 4 else 0
