"""The account of a benchmark's step: how many tasks ended, how fast, and how long they took. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleet.capacity.bench.arrivals import Load
from fleet.capacity.simulation import quantile

Entry = tuple[int, float, float, str]
"""(number of the task, when it began and ended in seconds of Redis' clock, node)."""
SHARES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Step:
    """How the tasks of a load went. lost: that never ended; run_twice: that began more than once. throughput: tasks a second,
    from the first that was due to the last that ended. waits, latencies: by share, in seconds from when a task was due until it
    began, and ended. behind: how much later than it could the last one ended, as a share of the time in which they came. late: by
    how many seconds 95 of 100 were sent late at most. by_node: tasks of each worker."""

    load: Load
    finished: int
    lost: int
    run_twice: int
    throughput: float
    waits: Mapping[float, float]
    latencies: Mapping[float, float]
    behind: float
    late: float
    by_node: Mapping[str, int]


def account(load: Load, due: Mapping[int, float], late: Sequence[float], entries: Iterable[Entry]) -> Step:
    """due: number → when the task was due, in seconds of Redis' clock. late: by how many seconds each was sent late."""
    first: dict[int, tuple[float, float]] = {}
    runs: dict[int, int] = {}
    by_node: dict[str, int] = {}
    for number, begun, ended, node in entries:
        if number in due:
            first[number] = min(first.get(number, (begun, ended)), (begun, ended))
            runs[number] = runs.get(number, 0) + 1
            by_node[node] = by_node.get(node, 0) + 1
    waits = sorted(max(0.0, begun - due[number]) for number, (begun, _) in first.items())
    latencies = sorted(max(0.0, ended - due[number]) for number, (_, ended) in first.items())
    begin, end = min(due.values(), default=0.0), max(due.values(), default=0.0)
    last = max((ended for _, ended in first.values()), default=0.0)
    took = last - begin
    return Step(
        load=load,
        finished=len(first),
        lost=len(due) - len(first),
        run_twice=sum(number > 1 for number in runs.values()),
        throughput=len(first) / took if first and took > 0 else 0.0,
        waits=_quantiles(waits),
        latencies=_quantiles(latencies),
        behind=max(0.0, last - end - load.seconds) / (end - begin) if end > begin else 0.0,
        late=quantile(sorted(late), 0.95) if late else 0.0,
        by_node=dict(sorted(by_node.items())),
    )


def _quantiles(values: Sequence[float]) -> dict[float, float]:
    return {share: quantile(values, share) if values else 0.0 for share in SHARES}
