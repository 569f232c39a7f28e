"""What a timeline comes to: numbers by queue, role and worker, the worst first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_high

from fleet.observe.report.timeline import Timeline, Total, Values

FULL = 90.0
"""Percent of its slots above which a role counts as full."""


@dataclass(frozen=True)
class QueueStatistics:
    """A queue. objective: seconds; None if it has none. age: the longest that its oldest task has waited, in seconds; None if it
    is not known; age_at: when. over_s: for how long that was above the objective. waiting: the most messages. begun,
    failed: tasks. incoming, rate: messages that came and tasks that began, a second, on average."""

    name: str
    objective: float | None
    age: float | None
    age_at: float | None
    over_s: float
    waiting: float | None
    begun: float
    failed: float
    incoming: float | None
    rate: float | None

    @property
    def badness(self) -> tuple[float, float, float]:
        """By which the worst is first: how far above its objective, then how old."""
        share = (self.age or 0) / self.objective if self.objective else 0.0
        return (share if share > 1 else 0.0, self.age or 0.0, self.waiting or 0.0)


@dataclass(frozen=True)
class RoleStatistics:
    """A role. busy, most: percent of its slots on average, and at most. full_s: for how long it was FULL. slots: as many as there
    were for most of the time; a rollout adds some for a minute."""

    name: str
    slots: float
    busy: float | None
    most: float | None
    full_s: float


@dataclass(frozen=True)
class WorkerStatistics:
    """A worker's memory. most, cap: bytes. share: the most of its limit, in percent; None if it has no limit."""

    name: str
    role: str
    most: float | None
    cap: float | None
    share: float | None


@dataclass(frozen=True)
class Statistics:
    """All of a timeline, the worst first. seen_s, unseen_s: for how long the fleet was seen, and was not."""

    queues: tuple[QueueStatistics, ...]
    roles: tuple[RoleStatistics, ...]
    workers: tuple[WorkerStatistics, ...]
    seen_s: float
    unseen_s: float
    begun: float
    failed: float

    @property
    def rate(self) -> float:
        """Tasks that began, a second, while the fleet was seen."""
        return self.begun / self.seen_s if self.seen_s else 0.0


def statistics(timeline: Timeline) -> Statistics:
    """Of a timeline."""
    queues = sorted(_queues(timeline), key=lambda queue: (*(-part for part in queue.badness), queue.name))
    roles = sorted(_roles(timeline), key=lambda role: (-role.full_s, -(role.busy or 0), role.name))
    workers = sorted(_workers(timeline), key=lambda worker: (-(worker.share or 0), -(worker.most or 0), worker.name))
    seen = sum(value is not None for value in timeline.known)
    step = timeline.grid.step
    return Statistics(
        queues=tuple(queues),
        roles=tuple(roles),
        workers=tuple(workers),
        seen_s=seen * step,
        unseen_s=(timeline.grid.number - seen) * step,
        begun=sum(queue.begun for queue in queues),
        failed=sum(queue.failed for queue in queues),
    )


def total(rows: Sequence[Values], number: int) -> Values:
    """The sum at each point; None where none is known."""
    sums: list[float | None] = []
    for index in range(number):
        known = [value for row in rows if (value := row[index]) is not None]
        sums.append(sum(known) if known else None)
    return tuple(sums)


def share(part: Values, whole: Values) -> Values:
    """Percent."""
    return tuple(100 * value / of if value is not None and of else None for value, of in zip(part, whole, strict=True))


def most(values: Values) -> float | None:
    """The largest; None if none is known."""
    return max((value for value in values if value is not None), default=None)


def mean(values: Values) -> float | None:
    """The mean of those that are known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def added(values: Values) -> float:
    """The sum of those that are known."""
    return sum(value or 0.0 for value in values)


def usual(values: Values) -> float | None:
    """The median; None if none is known."""
    known = [value for value in values if value is not None]
    return median_high(known) if known else None


def above(values: Values, limit: float) -> int:
    """How many are above a limit."""
    return sum(value is not None and value > limit for value in values)


def _queues(timeline: Timeline) -> list[QueueStatistics]:
    step = timeline.grid.step
    queues = []
    for name, series in timeline.queues.items():
        age = most(series.age)
        objective = timeline.objectives.get(name)
        counted = timeline.totals.get(name, Total())
        queues.append(
            QueueStatistics(
                name=name,
                objective=objective,
                age=age,
                age_at=timeline.grid.time(series.age.index(age)) if age is not None else None,
                over_s=0.0 if objective is None else above(series.age, objective) * step,
                waiting=most(series.waiting),
                begun=step * added(series.begun) if counted.begun is None else counted.begun,
                failed=step * added(series.failed) if counted.failed is None else counted.failed,
                incoming=mean(series.incoming),
                rate=mean(series.begun),
            )
        )
    return queues


def _roles(timeline: Timeline) -> list[RoleStatistics]:
    roles = []
    for name, series in timeline.roles.items():
        busy = share(series.busy, series.slots)
        full = sum(value is not None and value >= FULL for value in busy) * timeline.grid.step
        roles.append(RoleStatistics(name, usual(series.slots) or 0.0, mean(busy), most(busy), full))
    return roles


def _workers(timeline: Timeline) -> list[WorkerStatistics]:
    workers = []
    for name, series in timeline.workers.items():
        cap = next((value for value in reversed(series.cap) if value), None)
        workers.append(WorkerStatistics(name, series.role, most(series.memory), cap, most(share(series.memory, series.cap))))
    return workers
