"""What a benchmark measures of each role and kind of work: how much it carries, and how long tasks take at half of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fleet.capacity.bench.account import Step
from fleet.capacity.bench.arrivals import Load, Work
from fleet.capacity.bench.bench import Bench
from fleet.capacity.bench.search import Knee, next_rate
from fleet.capacity.bench.target import Target

FIRST_RATE = 20.0
"""Tasks a second for each worker to begin with, at most: a slow machine has to do them all before the rate can fall."""
BUSY = 0.3
"""Share of the slots that are busy to begin with, at most."""
LEAST_TASKS = 50
"""Of a step: 95 of 100 have to mean something."""
HALF = 0.5


@dataclass(frozen=True)
class Settings:
    """seconds: of a step. task_seconds: that a task takes. objective: that 95 of 100 tasks may wait at most."""

    works: Sequence[Work]
    seconds: float
    task_seconds: float
    objective: float


@dataclass(frozen=True)
class Result:
    """What was measured of a role and a kind of work. knee: how much it carries; None if all tasks came at once. half: a step at
    half of that; None if nothing was carried. steps: the others."""

    role: str
    work: Work
    steps: tuple[Step, ...]
    knee: Knee | None = None
    half: Step | None = None

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """In the order in which they were measured."""
        return (*self.steps, self.half) if self.half else self.steps


def first_rate(target: Target, work: Work, task_seconds: float) -> float:
    """Tasks a second to begin with."""
    most = FIRST_RATE * len(target.nodes)
    if work == "noop":
        return most
    at_once = min(target.slots, target.cores) if work == "cpu" else target.slots
    return max(1.0, min(most, BUSY * at_once / task_seconds))


def load_of(work: Work, settings: Settings, rate: float) -> Load:
    """The load of a step."""
    return Load(work, _seconds(work, settings), rate, max(LEAST_TASKS, round(rate * settings.seconds)))


def measured(
    bench: Bench, targets: Sequence[Target], settings: Settings, tasks: int | None, say: Callable[[str], None]
) -> Iterator[Result]:
    """Measure each role and kind of work, one after the other. tasks: that are sent at once; None if the rate is to rise."""
    for target in targets:
        # Each process of the pool has to have met the task.
        bench.step(target.role, Load("noop", 0.0, 0.0, LEAST_TASKS + 4 * target.slots))
        for work in settings.works:
            if tasks is None:
                yield _rising(bench, target, work, settings, say)
                continue
            step = bench.step(target.role, Load(work, _seconds(work, settings), 0.0, tasks))
            say(f"{target.role} {work}: {step.finished} of {tasks} done, {step.throughput:.0f} a second")
            yield Result(target.role, work, (step,))


def _rising(bench: Bench, target: Target, work: Work, settings: Settings, say: Callable[[str], None]) -> Result:
    """Let the rate rise until it is known how much a role carries."""
    first, steps = first_rate(target, work, settings.task_seconds), list[Step]()
    while not isinstance(tried := next_rate(first, steps, settings.objective), Knee):
        step = bench.step(target.role, load_of(work, settings, tried))
        steps.append(step)
        say(f"{target.role} {work}: {tried:.0f} a second: 95% wait {step.waits[0.95]:.3f} s, {step.throughput:.0f} a second done")
    half = None
    if tried.rate:
        half = bench.step(target.role, load_of(work, settings, tried.rate * HALF))
    return Result(target.role, work, tuple(steps), tried, half)


def _seconds(work: Work, settings: Settings) -> float:
    return 0.0 if work == "noop" else settings.task_seconds
