"""A chart of wait against utilisation, with you-are-here: one for each plan, below each other. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from fleet.capacity.drawing import Line, Panel, svg
from fleet.capacity.forecast import MEASURED, Forecast
from fleet.capacity.need import Question, forecast_of, seconds
from fleet.capacity.planned import Planned

UTILISATIONS = (*(number / 100 for number in range(10, 90, 5)), 0.88, 0.9, 0.92, 0.94, 0.96, 0.98)


@dataclass(frozen=True)
class Curve:
    """How long tasks wait as the same workers are busier. here: where they are."""

    points: Sequence[Forecast]
    here: Forecast
    share: float
    objective: float | None

    @property
    def top(self) -> float:
        """The wait at the upper edge, in seconds: with the objective in the middle, or you-are-here."""
        steep = next((of.waits[self.share] for of in reversed(self.points) if of.utilisation <= 0.95), 0.0)
        middle = max(self.objective or 0.0, self.here.waits[self.share] if self.here.utilisation < 1 else 0.0)
        return round_up(2 * middle or steep or self.points[-1].waits[self.share] or 1.0)


def chart(plans: Mapping[str, Planned]) -> str:
    """The file. plans: by the name of the roles."""
    return svg("How long tasks wait as workers are busier", [_panel(name, part) for name, part in plans.items()])


def curve_of(question: Question, workers: int) -> Curve:
    """Takes some seconds: a simulation for each point."""
    here = forecast_of(question, workers)
    most = here.layout.slots / question.demand.held(MEASURED.between).service

    def with_utilisation(share: float) -> Forecast:
        demand = replace(question.demand, rate=share * most)
        return forecast_of(replace(question, demand=demand), workers)

    objective = question.objective.seconds if question.objective else None
    return Curve([with_utilisation(share) for share in UTILISATIONS], here, question.share, objective)


def _panel(name: str, part: Planned) -> Panel:
    workers = part.there or part.answer.workers
    curve = curve_of(part.question, workers)
    top, lines = curve.top, []
    for share in sorted(curve.here.waits):
        # Nobody waits less as workers are busier: what a simulation says of that is chance.
        waits = accumulate((of.waits[share] for of in curve.points), max)
        points = [(of.utilisation, wait / top) for of, wait in zip(curve.points, waits, strict=True)]
        lines.append(Line(f"{100 * share:g}% wait less", points, share == curve.share))
    here = (min(1.0, curve.here.utilisation), curve.here.waits[curve.share] / top)
    return Panel(
        title=f"How long tasks{f' of {name}' if name else ''} wait, with {workers} × {part.question.concurrency} slots",
        across="slots that are busy",
        x_ticks=[(percent / 100, f"{percent}%") for percent in range(0, 101, 20)],
        y_ticks=y_ticks(top),
        lines=lines,
        limit=None if curve.objective is None else (curve.objective / top, f"objective {seconds(curve.objective)}"),
        here=(here, f"you are here: {curve.here.utilisation:.0%}"),
    )


def y_ticks(top: float) -> list[tuple[float, str]]:
    """Of times from 0 to `top` seconds."""
    return [(step / 4, seconds(top * step / 4)) for step in range(5)]


def round_up(value: float) -> float:
    """To 1, 2, 4 or 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 10) if step * power >= value * 0.999)
