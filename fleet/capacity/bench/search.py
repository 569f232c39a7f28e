"""Which rate to try next, until it is known how much the workers carry. Pure.

The rate rises by GROWTH until 95 of 100 tasks wait longer than they may, and the knee is searched between the last two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.capacity.bench.account import Step

GROWTH = 1.6
"""How many times as much the next step is, while it rises."""
CLOSE = 1.08
"""How many times the knee the next rate that was too much is at most, when the search ends."""
BEHIND = 0.05
"""Share of a step's time that the workers may be behind in the end."""
LATE = 0.05
"""Seconds by which the producer may be late. Then it is not the workers that are measured."""
MOST_STEPS = 20
SHARE = 0.95


@dataclass(frozen=True)
class Knee:
    """rate: the largest at which so many tasks wait no longer than they may. limit: what is above it: "workers", or
    "producer" if that could send no faster."""

    rate: float
    limit: str


def next_rate(first: float, steps: Sequence[Step], objective: float) -> float | Knee:
    """The rate of the next step, or the knee. first: of the first step. objective: seconds that a task may wait."""
    if not steps:
        return first
    enough = [step.load.rate for step in steps if carries(step, objective)]
    best = max(enough, default=0.0)
    above = [step for step in steps if step.load.rate > best]
    if not above:
        return best * GROWTH if len(steps) < MOST_STEPS else Knee(best, "workers")
    nearest = min(above, key=lambda step: step.load.rate)
    if len(steps) >= MOST_STEPS or (best and nearest.load.rate / best <= CLOSE):
        return Knee(best, "producer" if nearest.late > LATE else "workers")
    if not best:
        return nearest.load.rate / GROWTH**2
    return float((best * nearest.load.rate) ** 0.5)


def carries(step: Step, objective: float) -> bool:
    """Whether the workers did a step's tasks in time, and would have gone on so: in a short step, few wait long yet."""
    return not step.lost and step.waits[SHARE] <= objective and step.behind <= BEHIND
