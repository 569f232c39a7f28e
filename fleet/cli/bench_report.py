"""What `fleet bench` prints. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from fleet.spec.text import table_lines

if TYPE_CHECKING:
    from fleet.capacity.bench.account import Step
    from fleet.capacity.bench.compare import Comparison
    from fleet.capacity.bench.run import Result

HEADS = ("ROLE", "TASKS", "CARRIES/s", "AT/s", "50%", "95%", "99%", "LOST")


def lines(results: Sequence[Result]) -> Iterator[str]:
    """A row for each role and kind of work; of a rate that rose, latencies at half of what is carried."""
    rows = []
    for result in results:
        step = result.half or result.steps[-1]
        done = f"{result.knee.rate:.0f}" if result.knee else f"{step.throughput:.0f}"
        if result.knee and result.knee.limit == "producer":
            done = f"{done} or more"
        at = f"{step.load.rate:.0f}" if step.load.rate else "at once"
        latencies = (_milliseconds(step.latencies[share]) for share in sorted(step.latencies))
        lost = sum(of.lost for of in result.all_steps)
        rows.append((result.role, _work(step), done, at, *latencies, str(lost)))
    yield from table_lines(HEADS, rows)
    if any(result.knee and result.knee.limit == "producer" for result in results):
        yield "or more: this machine cannot send faster"


def comparison_lines(compared: Sequence[Comparison]) -> Iterator[str]:
    """A row for each kind of work."""
    rows = []
    for of in compared:
        first, second = (f"{median(pair[index] for pair in of.carried):.0f}" for index in (0, 1))
        ratio = f"{median(of.ratios):.2f} ({min(of.ratios):.2f}\N{EN DASH}{max(of.ratios):.2f})"
        rows.append((of.work, first, second, ratio, str(of.lost)))
    for name, flags in zip("AB", compared[0].flags, strict=True):
        yield f"{name}: {flags}"
    yield from table_lines(("TASKS", "A/s", "B/s", "B TO A", "LOST"), rows)


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Role → kind of work → what was measured."""
    roles: dict[str, dict[str, Any]] = {}
    for result in results:
        roles.setdefault(result.role, {})[result.work] = {
            "carries_s": round(result.knee.rate, 1) if result.knee else None,
            "limit": result.knee.limit if result.knee else None,
            "steps": [_step(step) for step in result.all_steps],
        }
    return {"roles": roles}


def _step(step: Step) -> dict[str, Any]:
    return {
        "rate": step.load.rate or None,
        "tasks": step.load.number,
        "task_s": step.load.seconds,
        "finished": step.finished,
        "lost": step.lost,
        "run_twice": step.run_twice,
        "tasks_s": round(step.throughput, 2),
        "waits_s": {f"{share:g}": round(value, 4) for share, value in step.waits.items()},
        "latencies_s": {f"{share:g}": round(value, 4) for share, value in step.latencies.items()},
        "sent_late_s": round(step.late, 4),
        "by_node": dict(step.by_node),
    }


def _work(step: Step) -> str:
    return f"{step.load.work} {_milliseconds(step.load.seconds)}" if step.load.seconds else step.load.work


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"
