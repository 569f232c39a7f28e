"""A timeline as one HTML page that asks nobody for anything. `page.html.j2` has the markup. Pure, but for reading the template.

Names of queues, workers and tasks are others' words: they are cleaned, cut and escaped. The page is never larger than LARGEST: of
a large fleet, the worst have charts, more have a row in a table, and the rest are counted.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fleet.observe.report import charts, units
from fleet.observe.report.charts import Line
from fleet.observe.report.statistics import (
    QueueStatistics,
    RoleStatistics,
    Statistics,
    WorkerStatistics,
    mean,
    most,
    share,
    statistics,
    total,
)
from fleet.observe.report.timeline import Grid, Kind, Mark, Timeline, Values
from fleet.observe.report.units import Unit, text
from fleet.observe.report.verdict import short, verdict

LARGEST = 300_000
"""Bytes of a page."""
SLOTS = 12
"""Rows of a table beside charts: each is for a part of the time."""
COLUMNS = 8
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
WORDS: dict[Kind, str] = {"rollout": "rollout", "fault": "fault", "alert": "alert"}


@dataclass(frozen=True)
class Limits:
    """How much of a large fleet is shown. queues, roles, workers: charts. rows: of a table. marks: in the charts."""

    queues: int = 8
    roles: int = 8
    workers: int = 8
    rows: int = 60
    marks: int = 60


_LIMITS = (Limits(), Limits(6, 6, 6, 40, 40), Limits(4, 4, 4, 20, 20), Limits(2, 2, 2, 10, 10))


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
            sections=_sections(timeline, of, limits, charts.background(timeline.grid, drawn, [left for left, _ in axis])),
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


def clean(name: str) -> str:
    """A name on the page: no control characters, none that turn text around, and not endless."""
    return short(_UNPRINTABLE.sub("\ufffd", name), 120)


def cleaned(timeline: Timeline) -> Timeline:
    """With names that can be shown, and its marks in order."""
    queues = _unique(timeline.queues)
    marks = [replace(mark, text=short(_UNPRINTABLE.sub("\ufffd", mark.text), 300)) for mark in timeline.marks]
    return replace(
        timeline,
        source=clean(timeline.source),
        queues={queues[name]: series for name, series in timeline.queues.items()},
        roles={name: timeline.roles[old] for old, name in _unique(timeline.roles).items()},
        workers={
            name: replace(timeline.workers[old], role=clean(timeline.workers[old].role))
            for old, name in _unique(timeline.workers).items()
        },
        objectives={queues[name]: seconds for name, seconds in timeline.objectives.items() if name in queues},
        marks=tuple(sorted(marks, key=lambda mark: mark.at)),
        failures=tuple(replace(of, task=clean(of.task), exception=clean(of.exception)) for of in timeline.failures),
        notes=tuple(short(_UNPRINTABLE.sub("\ufffd", note), 300) for note in timeline.notes),
    )


def _unique(names: Iterable[str]) -> dict[str, str]:
    """Name → as it is shown. Two that look alike are told apart by a number."""
    shown: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        label, number = clean(name), 1
        while label in taken:
            number += 1
            label = f"{clean(name)} ({number})"
        taken.add(label)
        shown[name] = label
    return shown


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
        ("Tasks begun", text(round(of.begun), "number"), f"{text(of.begun / of.seen_s if of.seen_s else 0, 'rate')} on average"),
        ("Tasks failed", text(round(of.failed), "number"), failed),
        ("Oldest task waited", text(oldest.age if oldest else None, "seconds"), f"in {oldest.name}" if oldest else ""),
        ("Busiest role", text(busiest.busy if busiest else None, "percent"), f"{busiest.name}, on average" if busiest else ""),
        ("Fullest memory", text(tightest.share if tightest else None, "percent"), tightest.name if tightest else "not known"),
        ("Faults", str(numbers["fault"]), f"{alerts}, {rollouts}"),
    ]


def pins(grid: Grid, marks: Sequence[Mark], apart: float = 3.0) -> list[Pin]:
    """Marks that are less than `apart` percent from each other share a pin; it has the gravest kind of them."""
    groups: list[list[tuple[int, float, Mark]]] = []
    for number, mark in enumerate(marks, 1):
        left = 100 * min(max((mark.at - grid.start) / grid.seconds, 0.0), 1.0)
        if groups and left - groups[-1][0][1] < apart:
            groups[-1].append((number, left, mark))
        else:
            groups.append([(number, left, mark)])
    found = []
    for group in groups:
        numbers = [number for number, _, _ in group]
        kinds = [mark.kind for _, _, mark in group]
        kind: Kind = "fault" if "fault" in kinds else "alert" if "alert" in kinds else "rollout"
        label = str(numbers[0]) if len(group) == 1 else f"{numbers[0]}\u2013{numbers[-1]}"
        title = "\n".join(f"{units.clock(mark.at)} {mark.text}" for _, _, mark in group[:6])
        found.append(Pin(round(group[0][1], 2), label, numbers[0], kind, title))
    return found


def _sections(timeline: Timeline, of: Statistics, limits: Limits, behind: Markup) -> list[Section]:
    return [
        section
        for section in (
            _ages(timeline, of, limits, behind),
            _throughput(timeline, of, limits, behind),
            _load(timeline, of, limits, behind),
            _memory(timeline, of, limits, behind),
        )
        if section.charts
    ]


def _ages(timeline: Timeline, of: Statistics, limits: Limits, behind: Markup) -> Section:
    shown = of.queues[: limits.queues]
    left = len(of.queues) - len(shown)
    objectives = any(queue.objective for queue in of.queues)
    return Section(
        "queues",
        "How long the oldest task waits",
        (
            "Each queue on its own scale, the worst first. The dashed line is its objective."
            if objectives
            else "Each queue on its own scale, the worst first. No queue has an objective: slo in group_data/all.py sets them."
        )
        + (f" The {len(shown)} worst of {len(of.queues)} queues have a chart." if left > 0 else ""),
        tuple(_age(timeline, queue, number, behind) for number, queue in enumerate(shown)),
        _slots(
            timeline.grid,
            [(queue.name, timeline.queues[queue.name].age) for queue in shown],
            lambda values: text(most(values), "seconds"),
        ),
        _cut(
            (
                ("Queue", False),
                ("Objective", True),
                ("Oldest waited", True),
                ("At", True),
                ("Over objective", True),
                ("Most waiting", True),
                ("In", True),
                ("Begun", True),
                ("Tasks", True),
                ("Failed", True),
            ),
            of.queues,
            _queue_row,
            limits.rows,
        ),
        (("queue", "at least so old"), ("over", "over its objective"), ("limit", "objective")) if objectives else (),
    )


def _age(timeline: Timeline, queue: QueueStatistics, number: int, behind: Markup) -> Chart:
    values = timeline.queues[queue.name].age
    top = units.scale(max(queue.age or 0.0, queue.objective or 0.0), "seconds")
    over = queue.over_s > 0
    objective = "no objective" if queue.objective is None else f"objective {text(queue.objective, 'seconds')}"
    note = objective + (f", over it for {units.seconds_text(queue.over_s)}" if over else "")
    return Chart(
        name=queue.name,
        lead=text(queue.age, "seconds"),
        note=note,
        level="bad" if over else "",
        top=text(top, "seconds"),
        middle=text(top / 2, "seconds"),
        svg=charts.svg(timeline.grid, behind, [Line(values, "queue", filled=True)], top, queue.objective, f"q{number}"),
        names="waits",
        data=charts.data([values]),
        unit="seconds",
        described=f"{queue.name}: the oldest task waited {text(queue.age, 'seconds')} at most"
        + (f", at {units.clock(queue.age_at)}" if queue.age_at is not None and queue.age else "")
        + f"; {note}.",
    )


def _queue_row(queue: QueueStatistics) -> tuple[str, ...]:
    return (
        queue.name,
        text(queue.objective, "seconds"),
        text(queue.age, "seconds"),
        units.clock(queue.age_at) if queue.age_at is not None and queue.age else "-",
        text(queue.over_s, "seconds") if queue.objective is not None else "-",
        text(queue.waiting, "number"),
        text(queue.incoming, "rate"),
        text(queue.rate, "rate"),
        text(round(queue.begun), "number"),
        text(round(queue.failed), "number"),
    )


def _throughput(timeline: Timeline, of: Statistics, limits: Limits, behind: Markup) -> Section:
    points, queues = timeline.grid, list(timeline.queues.values())
    incoming, begun, failed = (
        total([getattr(queue, what) for queue in queues], points.number) for what in ("incoming", "begun", "failed")
    )
    waiting = total([queue.waiting for queue in queues], points.number)
    top = units.scale(max(most(incoming) or 0, most(begun) or 0), "rate")
    most_waiting = units.scale(most(waiting) or 0, "number")
    rates = f"{text(mean(incoming), 'rate')} in, {text(mean(begun), 'rate')} begun"
    shown = (
        Chart(
            name="All queues",
            lead=text(mean(begun), "rate"),
            note=f"begun on average, {text(most(begun), 'rate')} at most",
            level="",
            top=text(top, "rate"),
            middle=text(top / 2, "rate"),
            svg=charts.svg(
                points, behind, [Line(failed, "failed", filled=True), Line(incoming, "in"), Line(begun, "begun")], top
            ),
            names="failed,in,begun",
            data=charts.data([failed, incoming, begun]),
            unit="rate",
            described=f"Throughput of all queues: on average {rates}, {text(mean(failed), 'rate')} failed.",
            tall=True,
        ),
        Chart(
            name="Waiting",
            lead=text(most(waiting), "number"),
            note="messages in all queues at most",
            level="",
            top=text(most_waiting, "number"),
            middle=text(most_waiting / 2, "number"),
            svg=charts.svg(points, behind, [Line(waiting, "queue", filled=True)], most_waiting),
            names="waiting",
            data=charts.data([waiting]),
            unit="number",
            described=f"Messages that wait in all queues: {text(most(waiting), 'number')} at most.",
        ),
    )
    failing = _cut(
        (("Task", False), ("Exception", False), ("Failed", True)),
        timeline.failures,
        lambda failure: (failure.task, failure.exception, text(failure.number, "number")),
        min(20, limits.rows),
    )
    return Section(
        "throughput",
        "Throughput",
        "Messages that come, and tasks that begin and fail, of all queues together.",
        shown if queues else (),
        _slots(
            points,
            [("In", incoming), ("Begun", begun), ("Failed", failed), ("Waiting", waiting)],
            lambda values: text(mean(values), "rate"),
            last=lambda values: text(most(values), "number"),
        ),
        failing if timeline.failures else None,
        (("in", "come in"), ("begun", "begin"), ("failed", "fail")),
    )


def _load(timeline: Timeline, of: Statistics, limits: Limits, behind: Markup) -> Section:
    shown = of.roles[: limits.roles]
    busy = {name: share(series.busy, series.slots) for name, series in timeline.roles.items()}

    def chart(role: RoleStatistics) -> Chart:
        full = f", full for {units.seconds_text(role.full_s)}" if role.full_s else ""
        note = f"of {role.slots:.0f} slots on average, {text(role.most, 'percent')} at most{full}"
        top = units.scale(most(busy[role.name]) or 0, "percent")
        return Chart(
            name=role.name,
            lead=text(role.busy, "percent"),
            note=note,
            level="watch" if role.full_s else "",
            top=text(top, "percent"),
            middle=text(top / 2, "percent"),
            svg=charts.svg(timeline.grid, behind, [Line(busy[role.name], "load", filled=True)], top),
            names="busy",
            data=charts.data([busy[role.name]]),
            unit="percent",
            described=f"{role.name}: {text(role.busy, 'percent')} {note} busy.",
        )

    def row(role: RoleStatistics) -> tuple[str, ...]:
        return (
            role.name,
            text(role.slots, "number"),
            text(role.busy, "percent"),
            text(role.most, "percent"),
            text(role.full_s, "seconds"),
        )

    heads = (("Role", False), ("Slots", True), ("Busy on average", True), ("At most", True), ("90 % or more for", True))
    return Section(
        "load",
        "Load",
        "Busy slots of each role, of those of workers that answer.",
        tuple(map(chart, shown)),
        _slots(timeline.grid, [(role.name, busy[role.name]) for role in shown], lambda values: text(mean(values), "percent")),
        _cut(heads, of.roles, row, limits.rows),
    )


def _memory(timeline: Timeline, of: Statistics, limits: Limits, behind: Markup) -> Section:
    shown = of.workers[: limits.workers]
    left = len(of.workers) - len(shown)
    return Section(
        "memory",
        "Memory",
        "Memory of each worker against the limit of its cgroup, the fullest first."
        + (f" The {len(shown)} fullest of {len(of.workers)} workers have a chart." if left > 0 else ""),
        tuple(_worker(timeline, worker, number, behind) for number, worker in enumerate(shown)),
        _slots(
            timeline.grid,
            [(worker.name, timeline.workers[worker.name].memory) for worker in shown],
            lambda values: text(most(values), "bytes"),
        ),
        _cut(
            (("Worker", False), ("Role", False), ("Most", True), ("Limit", True), ("Share", True)),
            of.workers,
            lambda worker: (
                worker.name,
                worker.role,
                text(worker.most, "bytes"),
                text(worker.cap, "bytes") if worker.cap else "none",
                text(worker.share, "percent"),
            ),
            limits.rows,
        ),
        (("limit", "limit"),),
    )


def _worker(timeline: Timeline, worker: WorkerStatistics, number: int, behind: Markup) -> Chart:
    memory = timeline.workers[worker.name].memory
    top = units.scale(max(worker.most or 0.0, worker.cap or 0.0), "bytes")
    note = f"of {text(worker.cap, 'bytes')} at most" if worker.cap else "at most, no limit is known"
    return Chart(
        name=worker.name,
        lead=text(worker.most, "bytes"),
        note=note + (f", {text(worker.share, 'percent')}" if worker.share is not None else ""),
        level="watch" if (worker.share or 0) >= 90 else "",
        top=text(top, "bytes"),
        middle=text(top / 2, "bytes"),
        svg=charts.svg(timeline.grid, behind, [Line(memory, "memory", filled=True)], top, worker.cap, f"w{number}"),
        names="uses",
        data=charts.data([memory]),
        unit="bytes",
        described=f"{worker.name}: {text(worker.most, 'bytes')} {note}.",
    )


def _slots(
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


def _cut(
    heads: tuple[tuple[str, bool], ...], rows: Sequence[object], cells: Callable[..., tuple[str, ...]], number: int
) -> Table:
    left = len(rows) - number
    return Table(heads, tuple(cells(row) for row in rows[:number]), f"and {left} more" if left > 0 else "")


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
