"""The results of a benchmark as one HTML page with charts of latency against rate. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from fleet.capacity.bench.account import SHARES
from fleet.capacity.bench.run import Result
from fleet.capacity.chart import round_up, y_ticks
from fleet.capacity.drawing import Line, Panel, svg

STYLE = """
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:46rem;padding:0 1rem}
pre{overflow-x:auto}
"""


def page(results: Sequence[Result], table: Sequence[str], objective: float) -> str:
    """table: its lines, as the terminal shows them. objective: seconds that a task may wait."""
    panels = [_panel(result, objective) for result in results if result.knee]
    head = Markup('<!doctype html><html lang="en"><meta charset="utf-8"><title>fleet bench</title><style>{}</style>')
    body = Markup("<h1>fleet bench</h1><pre>{}</pre>").format("\n".join(table))
    charts = Markup(svg("Latency as the rate rises", panels)) if panels else Markup()  # noqa: S704 - escaped where it is made
    return str(head.format(Markup(STYLE)) + body + charts) + "\n"  # noqa: S704 - a constant


def _panel(result: Result, objective: float) -> Panel:
    steps = sorted(result.all_steps, key=lambda step: step.load.rate)
    most = max(step.load.rate for step in steps)
    top = round_up(2 * (objective + steps[0].load.seconds))
    lines = [
        Line(
            f"{100 * share:g}% end within",
            [(step.load.rate / most, step.latencies[share] / top) for step in steps],
            share == SHARES[1],
        )
        for share in SHARES
    ]
    return Panel(
        title=f"{result.role}, {result.work}: how long tasks take",
        across="tasks a second",
        x_ticks=[(step / 4, f"{most * step / 4:.0f}") for step in range(5)],
        y_ticks=y_ticks(top),
        lines=lines,
    )
