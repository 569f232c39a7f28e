"""The demand on queues, from what workers have counted. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

from fleet.capacity.demand import Service
from fleet_node.protocol import RUNTIME_BUCKETS, TaskCounts

LEAST_RUNS = 20
"""Of a task, from which its time is known."""
_SHORTEST = RUNTIME_BUCKETS[0] / 5
"""What the first bucket is taken to begin with, in seconds: a worker takes as long for a task that does nothing."""
_STEEPEST = 30.0
"""Power of the steepest density of times within a bucket."""
_BEYOND = 2.5
"""How many times its lower limit the last bucket is taken to end with, as most others do."""


def kinds_of(counts: Iterable[TaskCounts], queues: Collection[str]) -> tuple[Service, ...]:
    """The kinds of tasks that come to some queues, each with the number of its runs as weight. counts: of all workers. Empty if
    none of them has run LEAST_RUNS times."""
    histograms: dict[str, list[Sequence[float]]] = defaultdict(list)
    for entry in counts:
        if entry["queue"] in queues and entry.get("runtime"):
            histograms[entry["task"]].append(entry["runtime"])
    kinds = {task: service_of(added_up(parts)) for task, parts in histograms.items()}
    return tuple(kind for _, kind in sorted(kinds.items()) if kind.weight >= LEAST_RUNS)


def added_up(histograms: Iterable[Sequence[float]]) -> list[float]:
    """One histogram of several. Each has its sum, then the number in each bucket, without zeros at the end."""
    total = [0.0] * (len(RUNTIME_BUCKETS) + 2)
    for histogram in histograms:
        for index, value in enumerate(histogram):
            total[index] += value
    return total


def service_of(histogram: Sequence[float]) -> Service:
    """A kind of task from the histogram of its times, which has at least one. The mean is exact. For the spread, times are dense
    within a bucket as a power of themselves: the power by which the buckets beside it differ, with what it takes to have that
    mean."""
    total, counts = histogram[0], histogram[1:]
    number = sum(counts)
    mean = max(total / number, _SHORTEST)
    limits = (_SHORTEST, *RUNTIME_BUCKETS, RUNTIME_BUCKETS[-1] * _BEYOND)
    buckets = [(low, high, count) for (low, high), count in zip(pairwise(limits), counts, strict=False) if count]
    powers = _powers(buckets)

    def moment(order: int, more: float) -> float:
        parts = zip(buckets, powers, strict=True)
        return math.fsum(count * _moment(order, low, high, power + more) for (low, high, count), power in parts) / number

    least, most = -_STEEPEST, _STEEPEST
    while most - least > 0.001:
        more = (least + most) / 2
        least, most = (more, most) if moment(1, more) < mean else (least, more)
    return Service(number, mean, max(0.0, moment(2, least) / moment(1, least) ** 2 - 1))


def _powers(buckets: Sequence[tuple[float, float, float]]) -> list[float]:
    """The power by which times become fewer (or more) around each bucket."""
    points = [(math.log(low * high) / 2, math.log(count / (high - low))) for low, high, count in buckets]
    powers = []
    for index in range(len(points)):
        before, after = points[max(0, index - 1)], points[min(len(points) - 1, index + 1)]
        power = (after[1] - before[1]) / (after[0] - before[0]) if after != before else 0.0
        powers.append(min(_STEEPEST, max(-_STEEPEST, power)))
    return powers


def _moment(order: int, low: float, high: float, power: float) -> float:
    """The mean of x to an order, of x from low to high with a density of x to a power."""
    return low**order * _integral(power + order, high / low) / _integral(power, high / low)


def _integral(power: float, most: float) -> float:
    """Of x to a power, from 1 to `most`."""
    exponent = power + 1
    return math.expm1(exponent * math.log(most)) / exponent if abs(exponent) > 1e-9 else math.log(most)
