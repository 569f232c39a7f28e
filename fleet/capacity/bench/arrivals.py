"""When the tasks of a benchmark come: by chance, and whatever becomes of those before. Pure.

A client that waits for an answer before it sends again slows down with the system that it measures, and hides how long tasks
would have waited. Here each task has a time at which it is due, and is accounted for from then on, also if it was sent late.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Work = Literal["noop", "io", "cpu"]
WORKS: tuple[Work, ...] = ("noop", "io", "cpu")


@dataclass(frozen=True)
class Load:
    """Tasks of one kind that come to one queue. seconds: that each takes. rate: tasks a second; 0: all at once. number: of
    tasks."""

    work: Work
    seconds: float
    rate: float
    number: int


def due(load: Load, seed: int = 0) -> list[float]:
    """When each task is due, in seconds from the begin, in order."""
    if not load.rate:
        return [0.0] * load.number
    chance, at = random.Random(seed), 0.0  # noqa: S311 - not a secret
    times = []
    for _ in range(load.number):
        at += chance.expovariate(load.rate)
        times.append(at)
    return times
