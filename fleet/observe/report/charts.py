"""SVG of a report's charts: a line, the area below it, and gaps where nothing is known. Pure.

A chart is as wide as its grid has points and HEIGHT high, and is stretched to its place on the page; its labels are HTML
beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fleet.observe.report.timeline import Grid, Mark, Values

HEIGHT = 100


def number(value: float) -> str:
    """As few characters as it takes, to a tenth."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def runs(values: Values) -> Iterable[tuple[int, Sequence[float]]]:
    """(first index, values) of each stretch without a gap."""
    begin, run = 0, list[float]()
    for index, value in enumerate([*values, None]):
        if value is None:
            if run:
                yield begin, run
            run = []
            continue
        if not run:
            begin = index
        run.append(value)


def line_path(values: Values, top: float) -> str:
    """The `d` of a line through the middle of each point's time. A point alone is a dash as long as its time."""
    return "".join(f"M{number(x)} {number(y)}{rest}" for x, y, rest, _ in _lines(values, top))


def area_path(values: Values, top: float) -> str:
    """The `d` of what lies below the line."""
    return "".join(f"M{number(x)} {HEIGHT}V{number(y)}{rest}V{HEIGHT}H{number(x)}Z" for x, y, rest, _ in _lines(values, top))


def _lines(values: Values, top: float) -> Iterable[tuple[float, float, str, float]]:
    """(x and y of the beginning, relative path on, x of the end) of each stretch."""
    for begin, run in runs(values):
        heights = [round(HEIGHT * (1 - min(1.0, max(0.0, value / top))), 1) for value in run]
        if len(heights) == 1:
            yield begin, heights[0], "h1", begin + 1
            continue
        parts = [f"h{_flat(heights, 0) + 0.5:g}"] if _flat(heights, 0) else ["h.5"]
        index = _flat(heights, 0)
        while index < len(heights) - 1:
            parts.append(f"l1 {number(heights[index + 1] - heights[index])}")
            index += 1
            if flat := _flat(heights, index):
                parts.append(f"h{flat}")
                index += flat
        yield begin, heights[0], "".join([*parts, "h.5"]), begin + len(run)


def _flat(heights: Sequence[float], index: int) -> int:
    """How many points after this one are as high."""
    end = index
    while end + 1 < len(heights) and heights[end + 1] == heights[index]:
        end += 1
    return end - index


@dataclass(frozen=True)
class Line:
    """A line of a chart. name: of a CSS class."""

    values: Values
    name: str
    filled: bool = False


def svg(points: Grid, behind: Markup, lines: Sequence[Line], top: float, limit: float | None = None, ident: str = "") -> Markup:
    """A chart. behind: its background. top: the number at its upper edge. limit: a number above which a filled line is drawn in
    another colour; it is a line of its own. ident: of the chart on the page."""
    opening = Markup('<svg viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true" focusable="false">')
    parts = [opening.format(points.number, HEIGHT)]
    parts.append(behind)
    y = None if limit is None else round(HEIGHT * (1 - min(1.0, limit / top)), 1)
    for line in lines:
        if line.filled:
            area = area_path(line.values, top)
            if y is not None and limit is not None and any(value is not None and value > limit for value in line.values):
                clip = Markup('<clipPath id="{0}"><rect width="{1}" height="{2}"/></clipPath>')
                parts.append(clip.format(f"c{ident}", points.number, number(y)))
                parts.append(Markup('<defs><path class="shape" id="{}" d="{}"/></defs>').format(f"a{ident}", area))
                parts.append(Markup('<use class="area {}" href="#{}"/>').format(line.name, f"a{ident}"))
                parts.append(Markup('<use class="area over" href="#{}" clip-path="url(#{})"/>').format(f"a{ident}", f"c{ident}"))
            else:
                parts.append(Markup('<path class="area {}" d="{}"/>').format(line.name, area))
        parts.append(Markup('<path class="line {}" d="{}"/>').format(line.name, line_path(line.values, top)))
    if y is not None:
        parts.append(Markup('<path class="limit" d="M0 {}H{}"/>').format(number(y), points.number))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def background(points: Grid, marks: Sequence[Mark], ticks: Iterable[float]) -> Markup:
    """What every chart shows: lines at the ticks of the time axis (shares of the width), and of the marks, bands of those that
    took time, and lines of their beginnings. It is the same in all charts, so it is short: a path a kind."""
    across = "".join(f"M{number(left * points.number)} 0V{HEIGHT}" for left in ticks)
    parts = [Markup('<path class="grid" d="M0 0H{0}M0 50H{0}{1}"/>').format(points.number, across)]
    for kind in dict.fromkeys(mark.kind for mark in marks):
        bands, lines = "", ""
        for mark in marks:
            if mark.kind != kind:
                continue
            x, end = (_place(points, at) for at in (mark.at, mark.at if mark.until is None else mark.until))
            lines += f"M{number(x)} 0V{HEIGHT}"
            bands += f"M{number(x)} 0H{number(end)}V{HEIGHT}H{number(x)}Z" if end - x > 0.1 else ""
        if bands:
            parts.append(Markup('<path class="band {}" d="{}"/>').format(kind, bands))
        parts.append(Markup('<path class="mark {}" d="{}"/>').format(kind, lines))
    return Markup("").join(parts)


def _place(points: Grid, at: float) -> float:
    return min(max((at - points.start) / points.step, 0.0), points.number)


def data(series: Sequence[Values]) -> str:
    """Numbers for the script: commas between points, bars between series, nothing where nothing is known."""
    return "|".join(",".join("" if value is None else f"{value:.3g}" for value in values) for values in series)
