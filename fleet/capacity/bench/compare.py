"""Workers with some flags beside workers with others, in turns on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

from fleet.capacity.bench import local
from fleet.capacity.bench.arrivals import Work
from fleet.capacity.bench.bench import Bench, queue_of
from fleet.capacity.bench.run import Result, Settings, measured
from fleet.capacity.bench.target import Target

ROLE = "local"


@dataclass(frozen=True)
class Comparison:
    """Tasks a second of a kind of work, in each round, with the first flags and with the second. lost: tasks, of both."""

    work: Work
    flags: tuple[str, str]
    carried: tuple[tuple[float, float], ...]
    lost: int

    @property
    def ratios(self) -> tuple[float, ...]:
        """Second to first, round by round: other work of the machine slows down both of a round."""
        return tuple(second / first if first else 0.0 for first, second in self.carried)

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        ratios = [round(ratio, 3) for ratio in self.ratios]
        return {
            "work": self.work,
            "flags": list(self.flags),
            "tasks_s": [[round(value, 1) for value in pair] for pair in self.carried],
            "ratio": {"median": median(ratios), "least": min(ratios), "most": max(ratios)},
            "lost": self.lost,
        }


def measured_here(flags: str, settings: Settings, tasks: int | None, say: Callable[[str], None]) -> list[Result]:
    """Measure a worker that is started for it. Raises BenchError if it does not come up."""
    node = f"{ROLE}-worker-1@bench"
    with ExitStack() as stack:
        url = stack.enter_context(local.redis())
        say(f"starting a worker: {flags} …")
        stack.enter_context(local.worker(url, flags, node, queue_of(ROLE)))
        bench = stack.enter_context(Bench(url, url, {ROLE: [node]}))
        target = Target(ROLE, (node,), bench.slots(ROLE), os.cpu_count() or 1)
        return list(measured(bench, [target], settings, tasks, say))


def compare(
    flags: tuple[str, str], settings: Settings, tasks: int | None, rounds: int, say: Callable[[str], None]
) -> list[Comparison]:
    """Measure both in each round, the second first in every other one."""
    by_work: dict[Work, list[tuple[float, float]]] = {work: [] for work in settings.works}
    lost = dict.fromkeys(settings.works, 0)
    for number in range(rounds):
        results: dict[str, Sequence[Result]] = {}
        for which in flags if number % 2 == 0 else flags[::-1]:
            say(f"round {number + 1} of {rounds}:")
            results[which] = measured_here(which, settings, tasks, say)
        for first, second in zip(results[flags[0]], results[flags[1]], strict=True):
            by_work[first.work].append((carried(first), carried(second)))
            lost[first.work] += sum(step.lost for result in (first, second) for step in result.all_steps)
    return [Comparison(work, flags, tuple(pairs), lost[work]) for work, pairs in by_work.items()]


def carried(result: Result) -> float:
    """Tasks a second: at the knee, or of those that came at once."""
    return result.knee.rate if result.knee else result.steps[0].throughput
