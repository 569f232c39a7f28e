"""A chart of wait against utilisation, with you-are-here, as SVG: one for each plan, below each other. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from markupsafe import Markup

from fleet.capacity.forecast import Forecast
from fleet.capacity.need import Question, forecast_of, seconds
from fleet.capacity.planned import Planned

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 70, 120, 40, 50
"""Margins of the area in which lines are drawn."""
UTILISATIONS = (*(number / 100 for number in range(10, 90, 5)), 0.88, 0.9, 0.92, 0.94, 0.96, 0.98)
STYLE = """
svg{background:#fff;font:13px system-ui,sans-serif;fill:#222}
.grid{stroke:#ddd}.axis{stroke:#888}.wait{fill:none;stroke:#888;stroke-width:1.5}.asked{stroke:#06c;stroke-width:2.5}
.objective{stroke:#c30;stroke-dasharray:5 4}.objective-name{fill:#c30}.here{fill:#06c}.title{font-weight:600}
@media (prefers-color-scheme:dark){svg{background:#181818;fill:#ddd}.grid{stroke:#333}.asked{stroke:#6af}.here{fill:#6af}}
"""


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
        return _round_up(2 * middle or steep or self.points[-1].waits[self.share] or 1.0)


def chart(plans: Mapping[str, Planned]) -> str:
    """The file. plans: by the name of the roles."""
    height = HEIGHT * max(1, len(plans))
    opening = Markup('<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img">')
    parts = [opening.format(WIDTH, height), Markup("<title>How long tasks wait as workers are busier</title>")]
    parts.append(Markup("<style>{}</style>").format(Markup(STYLE)))  # noqa: S704 - a constant
    for index, (name, part) in enumerate(plans.items()):
        parts.append(Markup('<g transform="translate(0 {})">').format(index * HEIGHT))
        parts += _panel(name, part)
        parts.append(Markup("</g>"))
    return str(Markup("").join(parts)) + "</svg>\n"


def curve_of(question: Question, workers: int) -> Curve:
    """Takes some seconds: a simulation for each point."""
    here = forecast_of(question, workers)
    slots = here.layout.slots

    def with_utilisation(share: float) -> Forecast:
        demand = replace(question.demand, rate=share * slots / question.demand.service)
        return forecast_of(replace(question, demand=demand), workers)

    objective = question.objective.seconds if question.objective else None
    return Curve([with_utilisation(share) for share in UTILISATIONS], here, question.share, objective)


def _panel(name: str, part: Planned) -> Iterator[Markup]:
    workers = part.there or part.answer.workers
    curve = curve_of(part.question, workers)
    top = curve.top
    title = f"{name + ': ' if name else ''}{workers} × {part.question.concurrency} slots"
    yield _text(LEFT, TOP - 16, title, "title")
    for step in range(5):
        y = _y(step / 4)
        yield Markup('<path class="{}" d="M{} {}H{}"/>').format("grid" if step else "axis", LEFT, y, WIDTH - RIGHT)
        yield _text(LEFT - 8, y + 4, seconds(top * step / 4), anchor="end")
    for percent in range(0, 101, 20):
        yield _text(_x(percent / 100), HEIGHT - BOTTOM + 20, f"{percent}%", anchor="middle")
    yield _text(_x(0.5), HEIGHT - 8, "slots that are busy", anchor="middle")
    for share in sorted(curve.here.waits):
        # Nobody waits less as workers are busier: what a simulation says of that is chance.
        waits = accumulate((of.waits[share] for of in curve.points), max)
        points = [(of.utilisation, wait / top) for of, wait in zip(curve.points, waits, strict=True)]
        yield _line(points, "wait asked" if share == curve.share else "wait")
        x, y = _end(points)
        yield _text(_x(x) + 6, _y(y) + 4, f"{100 * share:g}% wait less")
    if curve.objective is not None:
        y = _y(curve.objective / top)
        yield Markup('<path class="objective" d="M{} {}H{}"/>').format(LEFT, y, WIDTH - RIGHT)
        yield _text(LEFT + 6, y - 6, f"objective {seconds(curve.objective)}", "objective-name")
    x = min(1.0, curve.here.utilisation)
    y = min(1.0, curve.here.waits[curve.share] / top)
    yield Markup('<circle class="here" cx="{}" cy="{}" r="5"/>').format(_x(x), _y(y))
    yield _text(_x(x) - 9, _y(y) - 9, f"you are here: {curve.here.utilisation:.0%}", "here", "end" if x > 0.4 else "start")


def _line(points: Sequence[tuple[float, float]], name: str) -> Markup:
    """Up to the upper edge, where it is cut."""
    shown = [*(point for point in points if point[1] <= 1), _end(points)]
    path = "L".join(f"{_x(x)} {_y(y)}" for x, y in shown)
    return Markup('<path class="{}" d="M{}"/>').format(name, path)


def _end(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Where a line reaches the upper edge, or ends."""
    for (x, y), (after, above) in pairwise(points):
        if y <= 1 < above:
            return x + (after - x) * (1 - y) / (above - y), 1.0
    return points[-1]


def _x(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _text(x: float, y: float, text: str, name: str = "", anchor: str = "start") -> Markup:
    return Markup('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>').format(x, y, name, anchor, text)


def _round_up(value: float) -> float:
    """To 1, 2, 4 or 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 10) if step * power >= value * 0.999)
