"""Samples of a recording (`fleet.observe.report.recording`) as a timeline. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, Literal

from fleet.observe.report.marks import Fault, Point, faults_of, span_marks, worker_marks
from fleet.observe.report.timeline import (
    Failure,
    Grid,
    Mark,
    QueueSeries,
    RoleSeries,
    Timeline,
    Values,
    WorkerSeries,
    counted,
    finite,
)
from fleet.plan import process

_HELD = 2.2
"""Intervals for which a sample stands for what follows."""
_WORKER_FAULTS = 5000
"""Faults that are kept: a file may be of any length."""

How = Literal["most", "mean", "sum"]


class _Series:
    """Numbers that arrive one by one, as one number for each point."""

    def __init__(self, number: int, how: How) -> None:
        self.totals: list[float | None] = [None] * number
        self.counts = [0] * number
        self.how = how

    def add(self, index: int, value: float | None) -> None:
        if value is None:
            return
        known = self.totals[index]
        self.counts[index] += 1
        self.totals[index] = value if known is None else max(known, value) if self.how == "most" else known + value

    def values(self, held: list[int]) -> Values:
        """held: for each point, the point whose value it has; -1 for none."""
        own = [
            value / count if value is not None and self.how == "mean" else value
            for value, count in zip(self.totals, self.counts, strict=True)
        ]
        return tuple(own[index] if index >= 0 else None for index in held)


class Resampler:
    """Puts the samples of a recording on a grid."""

    def __init__(self, points: Grid) -> None:
        self.grid = points
        self.seen: list[float | None] = [None] * points.number  # the time of the last sample in each
        self.holds = [0.0] * points.number
        self.machines: list[float | None] = [None] * points.number
        self.machines_hold = 0.0
        self.series: dict[tuple[str, str, str], _Series] = {}
        self.points: defaultdict[str, list[Point]] = defaultdict(list)
        self.broker: list[tuple[float, bool | None]] = []
        self.reason = ""
        self.failures: Counter[tuple[str, str]] = Counter()
        self.before: tuple[float, float] | None = None  # of the last sample: its time, and for how long it stands
        self.away = 0.0
        self.faults: list[Fault] = []

    def take(self, entry: Mapping[str, Any], interval: float, machines_every: float) -> None:
        """A sample; what in it has another shape is left out. interval, machines_every: seconds between samples, and between
        looks at machines, at that time."""
        at: float = entry["t"]
        index = self.grid.index(at)
        if not 0 <= index < self.grid.number:
            return
        hold = _HELD * interval
        gap = self.before is not None and at - self.before[0] > max(hold, self.before[1])
        if gap and self.before is not None:
            self.broker.append((self.before[0], None))
            self._unknown(self.before[0])
        if "away" in entry:
            self.reason = self.reason or str(entry["away"])[:200]
            self.away += 0 if gap or self.before is None else at - self.before[0]
        self.broker.append((at, "away" in entry))
        self.before = at, hold
        self.seen[index], self.holds[index] = at, hold
        if "away" in entry:
            self.seen[index] = None
            self._unknown(at)
            return
        self._queues(index, _mapping(entry.get("q")))
        self._workers(index, at, _mapping(entry.get("w")), _mapping(entry.get("m")))
        self._failures(index, entry.get("f"))
        if "m" in entry:
            self.machines[index] = at
            self.machines_hold = max(self.machines_hold, _HELD * machines_every)

    def _unknown(self, at: float) -> None:
        """Nothing is known of the workers from then on."""
        for points in self.points.values():
            if points[-1].up is not None:
                points.append(Point(at, None))

    def _add(self, kind: str, name: str, what: str, index: int, value: object, how: How = "most") -> None:
        key = kind, name, what
        if key not in self.series:
            self.series[key] = _Series(self.grid.number, how)
        self.series[key].add(index, finite(value))

    def _queues(self, index: int, queues: Mapping[str, Any]) -> None:
        for name, values in queues.items():
            if not isinstance(values, list) or len(values) < 10:
                continue
            age = values[1] if values[1] is not None else 0.0
            self._add("queue", name, "age", index, age)
            self._add("queue", name, "waiting", index, values[0])
            self._add("queue", name, "incoming", index, values[8], "mean")
            self._add("queue", name, "begun", index, values[9], "mean")

    def _workers(self, index: int, at: float, workers: Mapping[str, Any], machines: Mapping[str, Any]) -> None:
        busy: defaultdict[str, float] = defaultdict(float)
        slots: defaultdict[str, float] = defaultdict(float)
        for node, values in workers.items():
            killed = None
            if isinstance(of_machine := machines.get(node), list) and len(of_machine) >= 3:
                killed = finite(of_machine[2])
            if not isinstance(values, list) or len(values) < 3:
                self.points[node].append(Point(at, False, killed=killed))
                continue
            self.points[node].append(Point(at, True, finite(values[2]), killed))
            busy[role_of(node)] += finite(values[0]) or 0
            slots[role_of(node)] += finite(values[1]) or 0
        for role in slots:
            self._add("role", role, "busy", index, busy[role], "mean")
            self._add("role", role, "slots", index, slots[role], "mean")
        for node, values in machines.items():
            if isinstance(values, list) and len(values) >= 3:
                self._add("worker", node, "memory", index, values[0])
                self._add("worker", node, "cap", index, values[1])

    def _failures(self, index: int, failures: object) -> None:
        for failure in failures if isinstance(failures, list) else []:
            try:
                queue, task, exception, number = failure
                count = max(0, int(finite(number) or 0))
            except (ValueError, TypeError):
                continue
            self.failures[str(task), str(exception)] += count
            self._add("failed", str(queue), "failed", index, count / self.grid.step, "sum")

    def _held(self) -> list[int]:
        """For each point, the point whose samples stand for it; -1 for none."""
        held: list[int] = []
        for index in range(self.grid.number):
            last = held[-1] if held else -1
            if self.seen[index] is not None:
                held.append(index)
            elif last >= 0 and not self.holds[index] and self.grid.time(index) - (self.seen[last] or 0) < self.holds[last]:
                held.append(last)
            else:
                held.append(-1)
        return held

    def _machines_held(self, held: list[int]) -> list[int]:
        last, indexes = -1, []
        for index in range(self.grid.number):
            if self.machines[index] is not None:
                last = index
            fresh = last >= 0 and self.grid.time(index) - (self.machines[last] or 0) < self.machines_hold
            indexes.append(last if fresh and held[index] >= 0 else -1)
        return indexes

    def timeline(self, source: str) -> Timeline:
        """All that was taken."""
        held = self._held()
        machines = self._machines_held(held)
        known = tuple(None if index < 0 else 1.0 for index in held)
        nothing: Values = (None,) * self.grid.number

        def values(kind: str, name: str, what: str, indexes: list[int] = held) -> Values:
            series = self.series.get((kind, name, what))
            return series.values(indexes) if series else nothing

        names: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for kind, name, _ in self.series:
            names[kind][name] = None
        return Timeline(
            source=source,
            grid=self.grid,
            known=known,
            queues={
                name: QueueSeries(
                    **{what: values("queue", name, what) for what in ("age", "waiting", "incoming", "begun")},
                    failed=counted(values("failed", name, "failed"), known),
                )
                for name in names["queue"]
            },
            roles={name: RoleSeries(values("role", name, "busy"), values("role", name, "slots")) for name in names["role"]},
            workers={
                name: WorkerSeries(
                    role_of(name), values("worker", name, "memory", machines), values("worker", name, "cap", machines)
                )
                for name in names["worker"]
            },
            marks=tuple(self._marks()),
            failures=tuple(
                Failure(task, exception, number) for (task, exception), number in self.failures.most_common() if number
            ),
            away_s=self.away,
        )

    def _marks(self) -> list[Mark]:
        faults = [fault for node, points in self.points.items() for fault in faults_of(node, points)]
        reason = f": {self.reason}" if self.reason else ""
        return [*worker_marks(faults[:_WORKER_FAULTS]), *span_marks("fault", f"the broker was away{reason}", self.broker)]


def role_of(node: str) -> str:
    """The role of a worker by its node; the node itself if no fleet starts workers of such a name."""
    parts = process.parse_node(node)
    return parts.role if parts else node


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
