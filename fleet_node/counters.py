"""What a worker counts of its tasks, by task and queue. Pure: Celery calls it through `fleet_node.patches.task_counts`.

Threads of a pool count, too. An attribute or an item of a list that is added to with no call in between is not interrupted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fleet_node.protocol import COUNTS, OTHER, RUNTIME_BUCKETS, WAIT_BUCKETS, TaskCounts

MOST_SERIES = 500
"""Pairs of a task and a queue that are counted by themselves. Others are counted together: an app may name queues after users."""
MOST_EXCEPTIONS = 20
"""The same for the exceptions of one task."""


class Histogram:
    """How many values were up to which limit, and their sum. bounds: the limits, in seconds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        index = bisect_left(self._bounds, value)
        self._counts[index] += 1
        self._sum += value

    def plain(self) -> list[float]:
        """Sum, then the number in each bucket, not cumulated; without those at the end that are empty. Empty if there is none."""
        counts: list[float] = list(self._counts)
        while counts and not counts[-1]:
            counts.pop()
        return [round(self._sum, 6), *counts] if counts else []


class Series:
    """The counts of one task from one queue, since the worker started."""

    def __init__(self) -> None:
        self.received = 0
        """At least those that have begun, are held, or were revoked: counted as the worker says what it does."""
        self.started = self.succeeded = self.retried = self.revoked = self.rejected = 0
        self.failed: Counter[str] = Counter()
        self.runtime, self.wait = Histogram(RUNTIME_BUCKETS), Histogram(WAIT_BUCKETS)

    def fail(self, exception: str) -> None:
        """Count a failure by the name of its exception."""
        self.failed[exception if exception in self.failed or len(self.failed) < MOST_EXCEPTIONS else OTHER] += 1


class Counters:
    """Of one worker."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], Series] = {}

    def of(self, task: str, queue: Any) -> Series:
        """The series of a task and the queue that it came from."""
        key = (task, queue if isinstance(queue, str) else "")
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= MOST_SERIES:
                key = (OTHER, OTHER)
            series = self._series.setdefault(key, Series())
        return series

    def plain(self, held: Mapping[tuple[str, str], int] = MappingProxyType({})) -> list[TaskCounts]:
        """All of it as plain values; counts that are zero are left out. held: (task, queue) → tasks that the worker has and that
        have not begun."""
        for task, queue in held:
            self.of(task, queue)
        for key, series in list(self._series.items()):
            series.received = max(series.received, series.started + series.revoked + held.get(key, 0))  # it never goes back
        return [_plain(task, queue, series) for (task, queue), series in list(self._series.items())]


def _plain(task: str, queue: str, series: Series) -> TaskCounts:
    entry: Any = {"task": task, "queue": queue}
    entry |= {name: number for name in COUNTS if (number := getattr(series, name))}
    entry |= {name: value for name in ("runtime", "wait") if (value := getattr(series, name).plain())}
    if series.failed:
        entry["failed"] = dict(series.failed)
    counts: TaskCounts = entry
    return counts
