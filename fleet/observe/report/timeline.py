"""The last hours of a fleet as series over one grid of times, wherever they come from. Plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Values = tuple[float | None, ...]
"""A number for each point of the grid; None if it is not known."""

POINTS = 300
"""The most points of a grid."""
_STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Steps that divide a day, in seconds."""

_LARGEST = 1e18
"""The largest number that is believed: more than any count or memory, and small enough to be added up."""
_LAST = 253_402_300_799
"""The end of the year 9999."""


@dataclass(frozen=True)
class Grid:
    """Point i is for the times from start + i × step to a step later. start: seconds since 1970. step: seconds."""

    start: float
    step: float
    number: int

    @property
    def end(self) -> float:
        """Seconds since 1970."""
        return self.start + self.step * self.number

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.step * self.number

    def index(self, at: float) -> int:
        """The point of a time, which may lie outside."""
        return math.floor((at - self.start) / self.step)

    def time(self, index: int) -> float:
        """When a point begins."""
        return self.start + index * self.step


def grid(start: float, end: float, least: float = 1) -> Grid:
    """The finest grid over a time that has POINTS points at most, and steps of at least `least` seconds."""
    wanted = max(least, (end - start) / (POINTS - 1))
    step = next((step for step in _STEPS if step >= wanted), math.ceil(wanted / 86400) * 86400)
    first = math.floor(start / step) * step
    return Grid(first, step, min(POINTS, max(1, math.ceil((end - first) / step))))


@dataclass(frozen=True)
class QueueSeries:
    """A queue. age: how long its oldest due task waits at least, in seconds. waiting: messages. incoming, begun, failed: tasks a
    second."""

    age: Values
    waiting: Values
    incoming: Values
    begun: Values
    failed: Values


@dataclass(frozen=True)
class RoleSeries:
    """The slots of a role's workers that answer, and how many of them are busy."""

    busy: Values
    slots: Values


@dataclass(frozen=True)
class WorkerSeries:
    """A worker's memory, and the most that it may have, in bytes."""

    role: str
    memory: Values
    cap: Values


Kind = Literal["rollout", "fault", "alert"]


@dataclass(frozen=True)
class Mark:
    """Something that happened. at: when it began. until: when it was over; None if it took no time. text: what, in words. failed:
    whether it is a rollout that did not end well. planned: whether it is no fault during a rollout, which restarts workers."""

    at: float
    until: float | None
    kind: Kind
    text: str
    failed: bool = False
    planned: bool = False


@dataclass(frozen=True)
class Failure:
    """How often a task failed with an exception in all the time."""

    task: str
    exception: str
    number: int


class Total(NamedTuple):
    """Tasks of a queue; None if they were not counted."""

    begun: float | None = None
    failed: float | None = None


@dataclass(frozen=True)
class Timeline:
    """A fleet's last hours. source: where they come from, in words. known: 1 where the fleet was seen at all. away_s: for how
    many seconds the broker did not answer. objectives: queue → seconds that its tasks may wait. totals: queue → how many of its
    tasks began and failed in all the time, as far as the source has counted them; series of rates come to a little less. notes:
    what could not be learnt, and why."""

    source: str
    grid: Grid
    known: Values
    queues: Mapping[str, QueueSeries]
    roles: Mapping[str, RoleSeries]
    workers: Mapping[str, WorkerSeries]
    marks: tuple[Mark, ...] = ()
    failures: tuple[Failure, ...] = ()
    away_s: float = 0.0
    objectives: Mapping[str, float] = field(default_factory=dict)
    totals: Mapping[str, Total] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def finite(value: object) -> float | None:
    """A number; None for anything else, for what is not a number, and for what is too large to be added up."""
    if isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST:
        return float(value)
    return None


def moment(value: object) -> float | None:
    """A time in seconds since 1970 that has a date; None for anything else."""
    at = finite(value)
    return at if at is not None and 0 <= at <= _LAST else None


def counted(values: Values, known: Values) -> Values:
    """A count of what happened: where nothing was counted and the fleet was seen, it is zero."""
    return tuple(0.0 if value is None and seen else value for value, seen in zip(values, known, strict=True))
