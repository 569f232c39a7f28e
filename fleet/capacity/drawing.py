"""Charts of lines as SVG: panels below each other, light or dark as the reader's screen. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 70, 120, 40, 50
"""Margins of the area in which lines are drawn."""
SPACING = 16
"""Between the names of lines."""
STYLE = """
svg{background:#fff;font:13px system-ui,sans-serif;fill:#222}
.grid{stroke:#ddd}.axis{stroke:#888}.line{fill:none;stroke:#888;stroke-width:1.5}.main{stroke:#06c;stroke-width:2.5}
.limit{stroke:#c30;stroke-dasharray:5 4}.limit-name{fill:#c30}.here{fill:#06c}.title{font-weight:600}
@media (prefers-color-scheme:dark){svg{background:#181818;fill:#ddd}.grid{stroke:#333}.main{stroke:#6af}.here{fill:#6af}}
"""
Point = tuple[float, float]
"""Shares of the width from the left, and of the height from below. Above 1, a line is cut at the upper edge."""


@dataclass(frozen=True)
class Line:
    """name: at its end. is_main: whether it is what the chart is about. points: from the left to the right."""

    name: str
    points: Sequence[Point]
    is_main: bool = False


@dataclass(frozen=True)
class Panel:
    """A chart. ticks: labels of the axes, with their places as shares. limit: a height with its name, as a line across. here: a
    point with its name."""

    title: str
    across: str
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    lines: Sequence[Line]
    limit: tuple[float, str] | None = None
    here: tuple[Point, str] | None = None


def svg(title: str, panels: Sequence[Panel]) -> str:
    """The file."""
    height = HEIGHT * max(1, len(panels))
    opening = Markup('<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img">')
    parts = [opening.format(WIDTH, height), Markup("<title>{}</title>").format(title)]
    parts.append(Markup("<style>{}</style>").format(Markup(STYLE)))  # noqa: S704 - a constant
    for index, panel in enumerate(panels):
        parts.append(Markup('<g transform="translate(0 {})">').format(index * HEIGHT))
        parts += _panel(panel)
        parts.append(Markup("</g>"))
    return str(Markup("").join(parts)) + "</svg>\n"


def _panel(panel: Panel) -> Iterator[Markup]:
    yield _text(LEFT, TOP - 16, panel.title, "title")
    for at, label in panel.y_ticks:
        yield Markup('<path class="{}" d="M{} {}H{}"/>').format("grid" if at else "axis", LEFT, _y(at), WIDTH - RIGHT)
        yield _text(LEFT - 8, _y(at) + 4, label, anchor="end")
    for at, label in panel.x_ticks:
        yield _text(_x(at), HEIGHT - BOTTOM + 20, label, anchor="middle")
    yield _text(_x(0.5), HEIGHT - 8, panel.across, anchor="middle")
    free = 0.0
    # From above, so that names which are near each other can be moved down.
    for line in sorted(panel.lines, key=lambda line: (-_end(line.points)[1], _end(line.points)[0])):
        x, y = _end(line.points)
        shown = [*(point for point in line.points if point[1] <= 1 and point[0] < x), (x, y)]
        path = "L".join(f"{_x(x)} {_y(y)}" for x, y in shown)
        yield Markup('<path class="line{}" d="M{}"/>').format(" main" if line.is_main else "", path)
        height = max(_y(y) + 4, free)
        free = height + SPACING
        yield _text(_x(x) + 6, height, line.name, "here" if line.is_main else "")
    if panel.limit:
        at, label = panel.limit
        yield Markup('<path class="limit" d="M{} {}H{}"/>').format(LEFT, _y(at), WIDTH - RIGHT)
        yield _text(LEFT + 6, _y(at) - 6, label, "limit-name")
    if panel.here:
        (x, y), label = panel.here
        yield Markup('<circle class="here" cx="{}" cy="{}" r="5"/>').format(_x(x), _y(min(1.0, y)))
        yield _text(_x(x) - 9, _y(min(1.0, y)) - 9, label, "here", "end" if x > 0.4 else "start")


def _end(points: Sequence[Point]) -> Point:
    """Where a line reaches the upper edge, or ends."""
    for (x, y), (after, above) in pairwise(points):
        if y <= 1 < above:
            return x + (after - x) * (1 - y) / (above - y), 1.0
    x, y = points[-1]
    return x, min(1.0, y)


def _x(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _text(x: float, y: float, text: str, name: str = "", anchor: str = "start") -> Markup:
    return Markup('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>').format(x, y, name, anchor, text)
