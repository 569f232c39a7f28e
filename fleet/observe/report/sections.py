"""The charts and tables of a report. Of a large fleet the worst have charts, more have a row, and the rest are counted. Pure."""

from __future__ import annotations

from markupsafe import Markup

from fleet.observe.report import charts, units
from fleet.observe.report.charts import Line
from fleet.observe.report.parts import Chart, Limits, Section, cut, slots
from fleet.observe.report.statistics import (
    QueueStatistics,
    RoleStatistics,
    Statistics,
    WorkerStatistics,
    added,
    mean,
    most,
    share,
    total,
)
from fleet.observe.report.timeline import Timeline
from fleet.observe.report.units import text
from fleet.spec.text import count


def sections(timeline: Timeline, of: Statistics, limits: Limits, behind: Markup) -> list[Section]:
    """All that have something to show. behind: the background of every chart."""
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
        slots(
            timeline.grid,
            [(queue.name, timeline.queues[queue.name].age) for queue in shown],
            lambda values: text(most(values), "seconds"),
        ),
        cut(
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
    came, failing_s = (added(values) * points.step / of.seen_s if of.seen_s else 0.0 for values in (incoming, failed))
    rates = f"{text(came, 'rate')} in, {text(of.rate, 'rate')} begun"
    shown = (
        Chart(
            name="All queues",
            lead=text(of.rate, "rate"),
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
            described=f"Throughput of all queues: on average {rates}, {text(failing_s, 'rate')} failed.",
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
    failing = cut(
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
        slots(
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
        note = f"of {count(round(role.slots), 'slot')} on average, {text(role.most, 'percent')} at most{full}"
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
        slots(timeline.grid, [(role.name, busy[role.name]) for role in shown], lambda values: text(mean(values), "percent")),
        cut(heads, of.roles, row, limits.rows),
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
        slots(
            timeline.grid,
            [(worker.name, timeline.workers[worker.name].memory) for worker in shown],
            lambda values: text(most(values), "bytes"),
        ),
        cut(
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
