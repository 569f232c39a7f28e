"""What the slots of workers do: which tasks run longer than tasks of their name do, or near their limit. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fleet.observe.workers import WorkerLoad
from fleet_node.protocol import RUNTIME_BUCKETS, WorkerSign

ENOUGH = 100
"""Tasks of a name that have to have succeeded before one counts as longer than they are."""
SHARE = 0.99
NEAR = 0.8
"""Share of its limit from which a task is near it."""


class Slots(NamedTuple):
    """How many slots of a worker are what. near: run a task near its limit. over: one that is longer than 99 % of its name.
    unknown: of a worker that does not say what it does. longest: task → seconds for which the longest of it runs."""

    near: int
    over: int
    busy: int
    idle: int
    unknown: int
    longest: Mapping[str, float] = {}


def usual(signs: Iterable[WorkerSign]) -> dict[str, float]:
    """Task → seconds in which 99 of 100 of it are done: the upper limit of their bucket. Of tasks of which enough are known."""
    counts: dict[str, list[float]] = defaultdict(lambda: [0.0] * (len(RUNTIME_BUCKETS) + 1))
    for sign in signs:
        for entry in sign["tasks"]:
            for index, number in enumerate(entry.get("runtime", [])[1:]):
                counts[entry["task"]][index] += number
    found = {task: _percentile(numbers) for task, numbers in counts.items() if sum(numbers) >= ENOUGH}
    return {task: seconds for task, seconds in found.items() if seconds is not None}


def _percentile(numbers: list[float]) -> float | None:
    so_far, wanted = 0.0, SHARE * sum(numbers)
    for bound, number in zip(RUNTIME_BUCKETS, numbers, strict=False):
        so_far += number
        if so_far >= wanted:
            return float(bound)
    return None


def slots_of(worker: WorkerLoad, sign: WorkerSign | None, now: float, normal: Mapping[str, float], limit: float | None) -> Slots:
    """The slots of a worker. sign: what it last said; None if that is too old. now: Redis's time. normal: `usual`. limit: of its
    role's tasks, in seconds."""
    if not (worker.is_well or worker.state in ("ghost", "out")):
        return Slots(0, 0, 0, 0, worker.slots)
    near = over = 0
    longest: dict[str, float] = {}
    for task, times in (sign.get("begun", {}) if sign else {}).items():
        for at in times:
            seconds = max(0.0, now - at)
            longest[task] = max(seconds, longest.get(task, 0.0))
            if limit and seconds >= NEAR * limit:
                near += 1
            elif task in normal and seconds > normal[task] + 1:
                over += 1
    busy = max(0, worker.active - near - over)
    return Slots(near, over, busy, max(0, worker.slots - worker.active), 0, longest)
