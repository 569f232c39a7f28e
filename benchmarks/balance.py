"""`fleet balance` beside others, on days of a simulated fleet:

    .venv/bin/python -m benchmarks.balance >benchmarks/results/balance-$(date +%F).md

Two roles: web has two workers of four slots, for tasks of a second (exponential) that may wait five; batch has two of eight, for
tasks that may wait thirty. Each day is played with the same tasks to nobody who moves anything, to `fleet balance`, to Celery's
--autoscale and to the algorithm of Laravel's Horizon.

Celery's --autoscale is played as its source has it (celery/worker/autoscale.py of 5.7): a worker has as many slots as it has
tasks, up to twice its own, and fewer when none has come for 30 s. So it has slots that the others lack, and memory for them.
Horizon moves processes of one slot between the queues, by each queue's time to clear, one every three seconds: as many as both
roles have slots, and at least one for each.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Iterator

from benchmarks.figures import table
from fleet.capacity.balance.policy import Balancer
from tests.unit.fleet.capacity.balance.simulated_fleet import (
    HOUR,
    Balancing,
    SimulatedFleet,
    Task,
    Worker,
    arrivals,
    fleet_of,
    merged,
    p95,
    terms_of,
    worst,
)

OBJECTIVES = {"web": 5.0, "batch": 30.0}
BASE = 4.0
"""Tasks of web a second, on a usual day."""
MOST = 4 * BASE
AUTOSCALE_EVERY, KEEPALIVE = 1.0, 30.0
HORIZON_EVERY = 3.0
SLOTS = {"web": [4, 4], "batch": [8, 8]}
Mover = Callable[[SimulatedFleet], None]


def days(hours: float) -> dict[str, Callable[[], Iterator[Task]]]:
    """The tasks of each day, by its name."""

    def day(rate: Callable[[float], float], batch: float = 2.0, seconds: float = 2.0) -> Callable[[], Iterator[Task]]:
        return lambda: merged(
            arrivals("web", rate, hours * HOUR, lambda chance: chance.expovariate(1.0), 1, MOST),
            arrivals("batch", lambda _: batch, hours * HOUR, lambda chance: chance.expovariate(1 / seconds), 2, batch),
        )

    def bursts(at: float) -> float:
        return BASE * (4 if 2 * HOUR <= at % (4 * HOUR) < 2 * HOUR + 600 else 1)

    return {
        "steady": day(lambda _: BASE),
        "a wave, 0.4 to 9.6 tasks a second": day(lambda at: 5 * (1 - 0.92 * math.cos(2 * math.pi * at / (24 * HOUR)))),
        "bursts of ten minutes, four times the load": day(bursts),
        "one of web's workers is lost for three hours": day(lambda _: BASE),
        "the bursts, and tasks of two minutes in batch": day(bursts, 0.03, 120.0),
    }


def losing(mover: Mover | None) -> Mover:
    """The same, with a worker of web that is away from six to nine."""

    def moved(fleet: SimulatedFleet) -> None:
        fleet.lose({"web-1"}, is_there=not 6 * HOUR <= fleet.now < 9 * HOUR)
        if mover:
            mover(fleet)

    return moved


class Autoscale:
    """celery/worker/autoscale.py of 5.7, for each worker by itself."""

    def __init__(self) -> None:
        self._active: dict[str, float] = {}
        self._begun: dict[str, int] = {}

    def __call__(self, fleet: SimulatedFleet) -> None:
        for worker in fleet.workers:
            procs, most = worker.slots + worker.grown, 2 * worker.slots
            waiting = len(fleet.queues.get(worker.group, ()))
            same = sum(other.group == worker.group and other.is_there for other in fleet.workers)
            reserved = min(most, worker.running + math.ceil(waiting / max(1, same)))
            if (begun := sum(worker.begun.values())) != self._begun.get(worker.node):
                self._begun[worker.node], self._active[worker.node] = begun, fleet.now
            if reserved > procs:
                worker.grown = reserved - worker.slots
                self._active[worker.node] = fleet.now
                fleet.changes.append((fleet.now, "grow"))
            elif (wanted := max(reserved, worker.slots)) < procs and fleet.now - self._active.get(worker.node, 0.0) > KEEPALIVE:
                worker.grown = wanted - worker.slots
                fleet.changes.append((fleet.now, "shrink"))


class Horizon:
    """Its AutoScaler with balance=auto and the strategy by time. A process that changes its queue finishes its task first."""

    def __call__(self, fleet: SimulatedFleet) -> None:
        there = [worker for worker in fleet.workers if worker.is_there]
        means = {}
        for group in OBJECTIVES:
            ran = [worker.ran.get(group, (0.0, 0.0)) for worker in fleet.workers]
            number = sum(count for count, _ in ran)
            means[group] = sum(seconds for _, seconds in ran) / number if number else 0.0
        clear = {group: len(fleet.queues.get(group, ())) * means[group] for group in OBJECTIVES}
        total = sum(clear.values())
        for group in OBJECTIVES:
            own = [worker for worker in there if worker.queues == [group]]
            wanted = math.ceil(clear[group] / total * len(there)) if total else 1
            if wanted > len(own):
                givers = [worker for worker in there if worker.queues != [group]]
                donors = [worker for worker in givers if sum(other.queues == worker.queues for other in there) > 1]
                if donors:
                    taken = min(donors, key=lambda worker: worker.running)
                    taken.queues = [group]
                    fleet.changes.append((fleet.now, "shift"))


def horizons() -> SimulatedFleet:
    """As many processes of one slot as both roles have slots, for each queue as many as its role has."""
    return SimulatedFleet(
        [Worker(f"{group}-{number}", group, 1, [group]) for group, slots in SLOTS.items() for number in range(sum(slots))]
    )


def played(name: str, tasks: Iterator[Task], by: str) -> SimulatedFleet:
    """A day. by: who moves."""
    fleet = horizons() if by == "Horizon" else fleet_of(**SLOTS)
    mover: Mover | None = None
    every = 10.0
    if by == "fleet balance":
        mover = Balancing(Balancer(terms_of(fleet, OBJECTIVES)))
    elif by == "--autoscale":
        mover, every = Autoscale(), AUTOSCALE_EVERY
    elif by == "Horizon":
        mover, every = Horizon(), HORIZON_EVERY
    if "lost" in name:
        if by == "Horizon":
            inner = mover

            def mover(fleet: SimulatedFleet) -> None:
                fleet.lose({f"web-{number}" for number in range(4, 8)}, is_there=not 6 * HOUR <= fleet.now < 9 * HOUR)
                inner(fleet)  # type: ignore[misc]
        else:
            mover = losing(mover)
    fleet.run(tasks, mover, every)
    return fleet


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hours", type=float, default=24, help="how long each day is (default: 24)")
    hours = parser.parse_args().hours
    random.seed(0)
    rows = []
    for name, tasks in days(hours).items():
        for by in ("nobody", "fleet balance", "--autoscale", "Horizon"):
            sys.stderr.write(f"{name}: {by} …\n")
            fleet = played(name, tasks(), by)
            waits = [f"{of(fleet.waits[group]):.1f} s" for group in OBJECTIVES for of in (p95, worst)]
            rows.append((name, by, *waits, str(len(fleet.changes))))
    heads = ("day", "moved by", "web p95", "web worst", "batch p95", "batch worst", "moves")
    sys.stdout.write(
        f"# Moving capacity, on simulated days, {time.strftime('%Y-%m-%d')}\n\n"
        f"    .venv/bin/python -m benchmarks.balance --hours {hours:g}\n\n"
        "Tasks of web may wait 5 s, those of batch 30 s. The same seed gives the same days on every machine.\n\n"
        f"{table(heads, rows)}"
    )


if __name__ == "__main__":
    main()
