"""What a report is made of: charts with their words, tables, sections, and how much of each. Plain values for the template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fleet.observe.report import units
from fleet.observe.report.timeline import Grid, Values
from fleet.observe.report.units import Unit

SLOTS = 12
"""Rows of a table beside charts: each is for a part of the time."""
COLUMNS = 8


@dataclass(frozen=True)
class Limits:
    """How much of a large fleet is shown. queues, roles, workers: charts. rows: of a table. marks: in the charts."""

    queues: int = 8
    roles: int = 8
    workers: int = 8
    rows: int = 60
    marks: int = 60


@dataclass(frozen=True)
class Chart:
    """A chart and what stands beside it. lead: the number that matters. level: how bad it is; empty if it is well. top, middle:
    labels of its scale. names, data, unit: for the script. described: what it shows, for those who do not see it."""

    name: str
    lead: str
    note: str
    level: str
    top: str
    middle: str
    svg: Markup
    names: str
    data: str
    unit: Unit
    described: str
    tall: bool = False


@dataclass(frozen=True)
class Table:
    """heads: with whether the column has numbers. more: how many rows are left out, in words."""

    heads: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]
    more: str = ""


@dataclass(frozen=True)
class Section:
    """A heading with charts on one time axis, the same as a table of times, and a table of all."""

    ident: str
    title: str
    intro: str
    charts: tuple[Chart, ...]
    slots: Table | None
    table: Table | None
    legend: tuple[tuple[str, str], ...] = ()


def slots(
    grid: Grid,
    columns: Sequence[tuple[str, Values]],
    cell: Callable[[Values], str],
    last: Callable[[Values], str] | None = None,
) -> Table | None:
    """The same as charts, as a table of times: a row for each part of the time. last: of the cells of the last column."""
    columns = columns[:COLUMNS]
    if not columns:
        return None
    size = -(-grid.number // SLOTS)
    digits = slice(5, None if size * grid.step % 60 else -3)
    rows = []
    for begin in range(0, grid.number, size):
        cells = [cell(values[begin : begin + size]) for _, values in columns]
        if last:
            cells[-1] = last(columns[-1][1][begin : begin + size])
        rows.append((units.moment(grid.time(begin))[digits], *cells))
    return Table((("From (UTC)", False), *((name, True) for name, _ in columns)), tuple(rows))


def cut(heads: tuple[tuple[str, bool], ...], rows: Sequence[object], cells: Callable[..., tuple[str, ...]], number: int) -> Table:
    """A table of the first rows, and how many there are more."""
    left = len(rows) - number
    return Table(heads, tuple(cells(row) for row in rows[:number]), f"and {left} more" if left > 0 else "")
