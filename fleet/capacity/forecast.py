"""How long the tasks of a demand wait with so many workers, and how many workers an objective takes. Pure, and within seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from fleet.capacity.demand import Demand
from fleet.capacity.queueing import mean_wait, slots_for, wait_quantile
from fleet.capacity.simulation import Layout, quantile, simulate

SHARES = (0.5, 0.95, 0.99)
"""Shares of the tasks whose waits a forecast has."""
FEWEST_TASKS, MOST_TASKS = 100_000, 400_000
"""Of a simulation: half a second to two."""
MEMORIES = 2000
"""How often a simulation is as long as the queue remembers: then the wait of 95 of 100 tasks is known to some 4 %."""
MOST_WORKERS = 100_000
"""More than anybody starts."""


@dataclass(frozen=True)
class Overhead:
    """What a worker itself takes of the time of a task. begins: seconds from a task's arrival to its run, where a slot is free.
    between: seconds that a slot is held after a task, before it can take the next."""

    begins: float = 0.0
    between: float = 0.0


NONE = Overhead()
"""Of the queues of theory."""
MEASURED = Overhead(0.008, 0.002)
"""Of workers of this fleet: benchmarks/results/forecast-*.md."""


@dataclass(frozen=True)
class Objective:
    """`share` of the tasks wait `seconds` at most."""

    seconds: float
    share: float = 0.95


@dataclass(frozen=True)
class Forecast:
    """How long the tasks of a demand wait with a layout. utilisation: share of the slots that are busy; from 1 on they cannot
    keep up. mean, waits: in seconds, the latter by share of the tasks; infinite if the slots cannot keep up."""

    layout: Layout
    utilisation: float
    mean: float
    waits: dict[float, float]

    def meets(self, objective: Objective) -> bool:
        """Whether so many tasks wait no longer. objective: of one of the shares of `waits`."""
        return self.waits[objective.share] <= objective.seconds


@lru_cache(maxsize=256)
def forecast(demand: Demand, layout: Layout, shares: tuple[float, ...] = SHARES, overhead: Overhead = NONE) -> Forecast:
    """By simulation. Near saturation by formula: waits are exponential there, whatever the spreads (Köllerström's heavy traffic
    limit), and a simulation would have to be too long. The same arguments have the same forecast."""
    demand = demand.held(overhead.between)
    utilisation = demand.load / layout.slots
    if utilisation >= 1:
        return Forecast(layout, utilisation, math.inf, dict.fromkeys(shares, math.inf))
    tasks = tasks_until_steady(demand, utilisation)
    if tasks > MOST_TASKS and layout.is_pooled:
        waits = {share: wait_quantile(demand, layout.slots, share) for share in shares}
        mean = mean_wait(demand, layout.slots)
    else:
        simulated = simulate(demand, layout, min(tasks, MOST_TASKS))
        simulated = sorted(simulated[len(simulated) // 10 :])  # it began with an empty queue
        waits = {share: quantile(simulated, share) for share in shares}
        mean = math.fsum(simulated) / len(simulated)
    return Forecast(layout, utilisation, mean + overhead.begins, {share: wait + overhead.begins for share, wait in waits.items()})


def shares_with(objective: Objective | None) -> tuple[float, ...]:
    """SHARES, and the objective's."""
    return tuple(sorted({*SHARES, objective.share})) if objective else SHARES


def tasks_until_steady(demand: Demand, utilisation: float) -> int:
    """How many tasks to simulate. A queue remembers some 1 / (1 - utilisation)² tasks, times its spread."""
    remembered = (demand.bursts + demand.spread) / 2 / (1 - utilisation) ** 2
    return int(max(FEWEST_TASKS, MEMORIES * remembered))


def workers_for(
    demand: Demand, concurrency: int, objective: Objective | None = None, prefetch: int = 1, overhead: Overhead = NONE
) -> int:
    """The fewest workers with which a demand meets an objective; without one, with which it does not pile up. prefetch: tasks
    that a worker takes for each of its slots. objective: of more seconds than a worker takes to begin a task."""
    held = demand.held(overhead.between)
    fewest = math.floor(held.load / concurrency) + 1
    if objective is None:
        return fewest

    def meets(workers: int) -> bool:
        layout = Layout(workers, concurrency, concurrency * prefetch)
        return forecast(demand, layout, shares, overhead).meets(objective)

    shares = shares_with(objective)
    # The formula comes close, and a simulation or two decide.
    slots = slots_for(held, objective.seconds - overhead.begins, objective.share)
    workers = max(fewest, math.ceil(slots / concurrency))
    while workers > fewest and meets(workers - 1):
        workers -= 1
    while not meets(workers) and workers < MOST_WORKERS:
        workers += 1
    return workers
