"""How long each task waits, by simulation: a million tasks a second. Pure, and the same for the same seed."""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from fleet.capacity.demand import Demand


@dataclass(frozen=True)
class Layout:
    """workers that consume a queue, with `concurrency` slots each. held: tasks that one takes from the broker at most, those that
    run among them: its concurrency × the prefetch multiplier, and no less than its slots."""

    workers: int
    concurrency: int
    held: int

    @property
    def slots(self) -> int:
        """Tasks that run at once."""
        return self.workers * self.concurrency

    @property
    def is_pooled(self) -> bool:
        """Whether any free slot takes the oldest task, since no worker holds more than it runs."""
        return self.held <= self.concurrency


def simulate(demand: Demand, layout: Layout, tasks: int, seed: int = 0) -> list[float]:
    """Seconds that each of `tasks` tasks waited for a slot, in the order of their arrival, beginning with an empty queue."""
    return replay(schedule(demand, tasks, seed), layout)


def schedule(demand: Demand, tasks: int, seed: int = 0) -> Iterator[tuple[float, float]]:
    """(when it comes, how long it runs) of so many tasks, in seconds, by chance."""
    chance = random.Random(seed)  # noqa: S311 - not a secret
    bounds = list(accumulate(kind.weight for kind in demand.kinds))
    at = 0.0
    for _ in range(tasks):
        at += _time(chance, 1 / demand.rate, demand.bursts)
        kind = demand.kinds[bisect_left(bounds, chance.random() * bounds[-1])]
        yield at, _time(chance, kind.mean, kind.spread)


def replay(tasks: Iterable[tuple[float, float]], layout: Layout) -> list[float]:
    """Seconds that each task of a schedule waits for a slot."""
    return list(_pooled(tasks, layout.slots)) if layout.is_pooled else _apart(tasks, layout)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed. values: sorted, at least one."""
    return values[max(0, math.ceil(share * len(values)) - 1)]


def _time(chance: random.Random, mean: float, spread: float) -> float:
    """A random time: gamma up to the spread of an exponential, lognormal above it."""
    if spread == 0:
        return mean
    if spread <= 1:
        return chance.gammavariate(1 / spread, mean * spread)
    sigma = math.sqrt(math.log1p(spread))
    return chance.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)


def _pooled(tasks: Iterable[tuple[float, float]], slots: int) -> Iterator[float]:
    """Waits where any free slot takes the oldest task: Kiefer and Wolfowitz's recursion."""
    free = [0.0] * slots
    for at, service in tasks:
        begins = max(at, free[0])
        heapq.heapreplace(free, begins + service)
        yield begins - at


def _apart(tasks: Iterable[tuple[float, float]], layout: Layout) -> list[float]:
    """Waits where workers take more tasks than they have slots for: a task is behind those of its worker, whoever else is idle.
    Of the workers that have room, the one takes it that has asked for the longest time, as from Redis."""
    waits: list[float] = []
    queue: deque[int] = deque()
    asking: deque[int] = deque(range(layout.workers))
    has_asked = [True] * layout.workers
    running, held = [0] * layout.workers, [0] * layout.workers
    behind: list[deque[int]] = [deque() for _ in range(layout.workers)]
    ends: list[tuple[float, int]] = []
    arrived: list[tuple[float, float]] = []

    def begin(worker: int, task: int, now: float) -> None:
        running[worker] += 1
        at, service = arrived[task]
        waits[task] = now - at
        heapq.heappush(ends, (now + service, worker))

    def ask(worker: int) -> None:
        if not has_asked[worker] and held[worker] < layout.held:
            has_asked[worker] = True
            asking.append(worker)

    def hand_out(now: float) -> None:
        while queue and asking:
            worker, task = asking.popleft(), queue.popleft()
            has_asked[worker] = False
            held[worker] += 1
            if running[worker] < layout.concurrency:
                begin(worker, task, now)
            else:
                behind[worker].append(task)
            ask(worker)

    def end_until(now: float) -> None:
        while ends and ends[0][0] <= now:
            at, worker = heapq.heappop(ends)
            running[worker] -= 1
            held[worker] -= 1
            if behind[worker]:
                begin(worker, behind[worker].popleft(), at)
            ask(worker)
            hand_out(at)

    for at, service in tasks:
        end_until(at)
        arrived.append((at, service))
        waits.append(0.0)
        queue.append(len(arrived) - 1)
        hand_out(at)
    end_until(math.inf)
    return waits
