"""A timeline as one HTML page that asks nobody for anything. `page.html.j2` has the markup. Pure, but for reading the template.

Names of queues, workers and tasks are others' words: they are cleaned, cut and escaped. The page is never larger than LARGEST: of
a large fleet, the worst have charts, more have a row in a table, and the rest are counted.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fleet.observe.report import charts, units
from fleet.observe.report.names import clean, cleaned
from fleet.observe.report.parts import Limits
from fleet.observe.report.sections import sections
from fleet.observe.report.statistics import (
    Statistics,
    statistics,
)
from fleet.observe.report.timeline import Grid, Kind, Mark, Timeline
from fleet.observe.report.units import text
from fleet.observe.report.verdict import verdict

LARGEST = 300_000
"""Bytes of a page."""
WORDS: dict[Kind, str] = {"rollout": "rollout", "fault": "fault", "alert": "alert"}


_LIMITS = (Limits(), Limits(6, 6, 6, 40, 40), Limits(4, 4, 4, 20, 20), Limits(2, 2, 2, 10, 10))


@dataclass(frozen=True)
class Pin:
    """The numbers of marks that are near each other, on the strip above the charts. left: percent of the width."""

    left: float
    label: str
    target: int
    kind: Kind
    title: str


def render(timeline: Timeline, name: str, made: float) -> bytes:
    """The page. name: of the inventory. made: now, in seconds since 1970."""
    timeline = cleaned(timeline)
    of = statistics(timeline)
    for limits in _LIMITS:
        page = _page(timeline, of, clean(name), made, limits)
        if len(page) <= LARGEST:
            break
    return page


def _page(timeline: Timeline, of: Statistics, name: str, made: float, limits: Limits) -> bytes:
    drawn = timeline.marks[: limits.marks]
    axis = units.ticks(timeline.grid.start, timeline.grid.end)
    script = _source("page.js")
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            name=name,
            verdict=verdict(timeline, of),
            level_words=LEVELS,
            period=period(timeline.grid),
            length=units.seconds_text(timeline.grid.seconds),
            every=units.seconds_text(timeline.grid.step),
            source=timeline.source,
            made=units.moment(made),
            notes=(*timeline.notes, *([] if timeline.workers else ["Memory of workers is not known."])),
            tiles=_tiles(timeline, of),
            pins=pins(timeline.grid, drawn),
            ticks=[(f"{100 * left:.2f}", label) for left, label in axis],
            sections=sections(timeline, of, limits, charts.background(timeline.grid, drawn, [left for left, _ in axis])),
            marks=_marks_table(timeline, limits.rows),
            grid=timeline.grid,
            style=Markup(_source("page.css")),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )
    return page.encode("utf-8", "replace")


LEVELS = {"bad": "Needs attention", "watch": "Worth a look", "good": "All well"}


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )


@cache
def _source(name: str) -> str:
    return (Path(__file__).parent / name).read_text().strip()


def period(grid: Grid) -> str:
    """From when to when, in UTC."""
    first, last = units.date(grid.start), units.date(grid.end)
    return f"{first} {units.clock(grid.start)} to {'' if first == last else f'{last} '}{units.clock(grid.end)}"


def _tiles(timeline: Timeline, of: Statistics) -> list[tuple[str, str, str]]:
    """(what, number, note)."""
    oldest = max(of.queues, key=lambda queue: queue.age or 0, default=None)
    busiest = max(of.roles, key=lambda role: role.busy or 0, default=None)
    tightest = next(iter(of.workers), None)
    failed = f"{100 * of.failed / of.begun:.2g} % of them" if of.begun else ""
    numbers = {kind: sum(mark.kind == kind for mark in timeline.marks) for kind in WORDS}
    rollouts = f"{numbers['rollout']} rollout{'s' if numbers['rollout'] != 1 else ''}"
    alerts = f"{numbers['alert']} alert{'s' if numbers['alert'] != 1 else ''}"
    return [
        ("Tasks begun", text(round(of.begun), "number"), f"{text(of.rate, 'rate')} on average"),
        ("Tasks failed", text(round(of.failed), "number"), failed),
        ("Oldest task waited", text(oldest.age if oldest else None, "seconds"), f"in {oldest.name}" if oldest else ""),
        ("Busiest role", text(busiest.busy if busiest else None, "percent"), f"{busiest.name}, on average" if busiest else ""),
        ("Fullest memory", text(tightest.share if tightest else None, "percent"), tightest.name if tightest else "not known"),
        ("Faults", str(numbers["fault"]), f"{alerts}, {rollouts}"),
    ]


def pins(grid: Grid, marks: Sequence[Mark]) -> list[Pin]:
    """Marks whose pins would cover each other share one; it has the gravest kind of them."""
    groups: list[list[tuple[int, float, Mark]]] = []
    for number, mark in enumerate(marks, 1):
        groups.append([(number, 100 * min(max((mark.at - grid.start) / grid.seconds, 0.0), 1.0), mark)])
        # A pin that grows by a mark may come to cover the one before it.
        while len(groups) > 1 and groups[-1][0][1] - groups[-2][0][1] < (_width(groups[-2]) + _width(groups[-1])) / 2:
            last = groups.pop()
            groups[-1] += last
    found = []
    for group in groups:
        kinds = [mark.kind for _, _, mark in group]
        kind: Kind = "fault" if "fault" in kinds else "alert" if "alert" in kinds else "rollout"
        title = "\n".join(f"{units.clock(mark.at)} {mark.text}" for _, _, mark in group[:6])
        found.append(Pin(round(group[0][1], 2), _label(group), group[0][0], kind, title))
    return found


def _label(group: Sequence[tuple[int, float, Mark]]) -> str:
    first, last = group[0][0], group[-1][0]
    return str(first) if first == last else f"{first}\u2013{last}"


def _width(group: Sequence[tuple[int, float, Mark]]) -> float:
    """Of its pin on a page of full width, in percent of a chart's."""
    return 2.0 + len(_label(group))


def _marks_table(timeline: Timeline, number: int) -> tuple[list[tuple[object, ...]], str]:
    """((number, time, how long, kind, level, text) of each, how many more there are)."""
    rows: list[tuple[object, ...]] = [
        (
            index,
            units.moment(mark.at),
            "" if mark.until is None else units.seconds_text(mark.until - mark.at),
            mark.kind,
            "bad" if mark.failed or mark.kind == "fault" else "",
            mark.text,
        )
        for index, mark in enumerate(timeline.marks[:number], 1)
    ]
    left = len(timeline.marks) - number
    return rows, f"and {left} more" if left > 0 else ""
