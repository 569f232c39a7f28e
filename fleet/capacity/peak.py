"""The busiest hour of a day, from the series of a monitor or a recording. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from fleet.observe.report.timeline import Timeline, Values

HOUR = 3600


@dataclass(frozen=True)
class Peak:
    """The busiest hour. rate: tasks a second that came, on average. hours: that are known, in which it is the busiest."""

    rate: float
    hours: float


def busiest(timeline: Timeline, queues: Collection[str]) -> Peak | None:
    """The busiest hour of some queues together, or all that is known if that is less. None if nothing is."""
    series = [of.incoming for name, of in timeline.queues.items() if name in queues]
    sums = [_sum([values[index] for values in series]) for index in range(timeline.grid.number)]
    known = [value for value in sums if value is not None]
    if not known:
        return None
    width = min(len(sums), max(1, math.ceil(HOUR / timeline.grid.step)))
    least = min(len(known), math.ceil(width / 2))
    windows = ([value for value in sums[end - width : end] if value is not None] for end in range(width, len(sums) + 1))
    rates = [math.fsum(window) / len(window) for window in windows if len(window) >= least]
    return Peak(max(rates, default=math.fsum(known) / len(known)), len(known) * timeline.grid.step / HOUR)


def _sum(values: Values | list[float | None]) -> float | None:
    """Of those that are known; None if none is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None
