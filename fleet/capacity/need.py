"""How many workers a demand needs, step by step, with the reason for each step. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fleet.capacity.demand import Demand
from fleet.capacity.forecast import MEASURED, Forecast, Objective, forecast, shares_with, workers_for
from fleet.capacity.simulation import Layout
from fleet.errors import FleetError
from fleet.spec.text import count

MOST_SLOTS = 100_000
"""More than a fleet has that one broker carries."""
USUAL_SHARE = 0.95
"""Of the tasks, without an objective."""


class NeedError(FleetError):
    """A demand that no fleet can serve, or a wrong number. str() says which and what to write."""


@dataclass(frozen=True)
class Question:
    """A demand, and the workers that are to serve it. concurrency: slots of a worker. prefetch: tasks that a worker takes for
    each of its slots. headroom: workers that may be away at once, for a rollout's step or with a machine."""

    demand: Demand
    concurrency: int
    prefetch: int = 1
    objective: Objective | None = None
    headroom: int = 0

    @property
    def share(self) -> float:
        """Of the tasks, of which is said how long they wait."""
        return self.objective.share if self.objective else USUAL_SHARE


@dataclass(frozen=True)
class Need:
    """The answer. slots: those that are busy on average, rounded up. enough: with `serving` workers, which are the fewest. fewer:
    with one fewer; None if there is none. workers: all, with those that may be away."""

    slots: int
    enough: Forecast
    fewer: Forecast | None
    workers: int

    @property
    def serving(self) -> int:
        """Workers that have to be at work at any time."""
        return self.enough.layout.workers


def check(question: Question) -> None:
    """Raises NeedError."""
    demand, objective = question.demand, question.objective
    numbers = {
        "rate": demand.rate,
        "service-time": min(kind.mean for kind in demand.kinds),
        "concurrency": question.concurrency,
        "prefetch": question.prefetch,
        **({"objective": objective.seconds} if objective else {}),
    }
    for name, value in numbers.items():
        if not (0 < value < math.inf):
            raise NeedError(f"{name}: {value:g}, and it has to be more than 0")
    if min(kind.spread for kind in demand.kinds) < 0 or demand.bursts < 0:
        raise NeedError("spread: less than 0, and a spread is variance / mean², 0 if all are equal")
    if objective and not 0 < objective.share < 1:
        raise NeedError(f"share: {objective.share:g}, and it has to be between 0 and 1, as 0.95")
    if objective and objective.seconds <= MEASURED.begins:
        begins = f"{MEASURED.begins:g} s to begin a task, however idle it is"
        raise NeedError(f"objective: {objective.seconds:g} s, and a worker takes some {begins}")
    if question.headroom < 0:
        raise NeedError(f"headroom: {question.headroom}, and no fewer than 0 workers can be away")
    if demand.load > MOST_SLOTS:
        raise NeedError(
            f"{demand.load:.0f} tasks would run at once: {demand.rate:g} a second, of {demand.service:g} s each. No fleet of one "
            f"broker has more than {MOST_SLOTS:,} slots: make tasks shorter, do several in one, or move queues to another broker"
        )


def need(question: Question) -> Need:
    """Answer a question. Takes seconds if a simulation has to decide. Raises NeedError."""
    check(question)
    serving = workers_for(question.demand, question.concurrency, question.objective, question.prefetch, MEASURED)
    return Need(
        math.ceil(round(question.demand.load, 9)),
        forecast_of(question, serving),
        forecast_of(question, serving - 1) if serving > 1 else None,
        serving + question.headroom,
    )


def forecast_of(question: Question, workers: int) -> Forecast:
    """What a question's tasks wait with so many workers."""
    layout = Layout(workers, question.concurrency, question.concurrency * question.prefetch)
    return forecast(question.demand, layout, shares_with(question.objective), MEASURED)


def curve(question: Question, answer: Need, now: int | None = None) -> list[Forecast]:
    """What more workers and fewer would do, the fewest first. now: those that there are."""
    serving = answer.serving
    numbers = {*range(max(1, serving - 2), serving + 3), answer.workers, *([now] if now else [])}
    return [forecast_of(question, number) for number in sorted(numbers)]


def explain(question: Question, answer: Need) -> Iterator[str]:
    """The steps, a line each."""
    demand, objective, share = question.demand, question.objective, question.share
    yield f"{demand.rate:g} tasks a second × {demand.service:g} s: {demand.load:g} slots are busy on average"
    overhead = f"{1000 * MEASURED.begins:g} ms to begin a task and {1000 * MEASURED.between:g} ms between two"
    yield f"a worker itself takes {overhead}, which counts here"
    slots = count(question.concurrency, "slot")
    workers = f"{count(answer.serving, 'worker')} of {slots}, {answer.enough.utilisation:.0%} busy"
    longest = wait(answer.enough, share)
    if objective:
        yield f"for {share:.0%} to wait {seconds(objective.seconds)} at most: {workers}, {longest}"
        if answer.fewer:
            few = seconds(answer.fewer.waits[share]) if answer.fewer.utilisation < 1 else "tasks pile up without end"
            yield f"{count(answer.serving - 1, 'worker')} would not do: {answer.fewer.utilisation:.0%} busy, {few}"
    else:
        yield f"to keep up: {workers}; {share:.0%} wait {longest} at most. Say how long they may wait: --objective 0.5"
    if question.prefetch > 1:
        yield f"each worker takes {question.prefetch} tasks for a slot: some wait behind a long one while other workers are idle"
    if question.headroom:
        away = f"{count(question.headroom, 'worker')} may be away, in a step of a rollout or with a lost machine"
        yield f"{away}: {answer.workers} in all"


def wait(of: Forecast, share: float) -> str:
    """How long so many tasks wait at most, in words."""
    return seconds(of.waits[share]) if of.utilisation < 1 else "without end"


def seconds(value: float) -> str:
    """A time as people write it: 0.05 s, 1.2 s, 90 s."""
    return f"{value:.0f} s" if value >= 10 else f"{float(f'{value:.2g}'):g} s"
