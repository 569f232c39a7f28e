"""What `fleet plan` forecasts beside what real workers do:

    .venv/bin/python -m benchmarks.forecast [--seconds 60] [--load 0.95] >benchmarks/results/forecast-$(date +%F).md

Two workers of four threads on loopback, with a deploy's settings, get tasks that sleep, on a schedule that waits for nobody. How
long a task waited is counted from the time at which it was due, so that a producer that is late hides nothing. Three shapes of
service times, four loads. Then the number of workers that is recommended for an objective, and one fewer. It takes 56 times as
long as the seconds, and some more; with --load or --shape, only these are tried, and no recommendation.

Nothing else may use the machine: at 95 %, a worker that is held up for a moment after each task has too much to do.

A queue that is 95 % busy takes minutes to become steady: this load lasts fifteen times as long. And its p95 differs by half
from one time to the next: so each schedule is, of 40 by chance, the one whose waits are in the middle. The forecast knows rate,
mean and spread alone.

The wait of tasks that hardly wait is what a worker takes to begin one. `fleet plan` has a figure for that, of no particular
machine; what it is here is measured first, with tasks that come alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

from celery import Celery
from redis import Redis

from benchmarks.figures import busy, machine, table
from fleet.capacity.demand import Demand, Service
from fleet.capacity.forecast import MEASURED, Objective, Overhead, forecast
from fleet.capacity.need import Question, forecast_of, need
from fleet.capacity.simulation import Layout, quantile, replay, schedule
from fleet.spec.reliability import RELIABILITY, TRANSPORT
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.process_support import machine as machine_with_redis

LAYOUT = Layout(workers=2, concurrency=4, held=4)
LOADS = (0.5, 0.7, 0.85, 0.95)
SHARE = 0.95
CHOSEN_FROM = 40
STEADY, LONGER = 0.95, 15
"""The load that lasts so many times as long."""
ALONE, EVERY = 100, 0.2
"""Tasks that come alone, and seconds between two of them."""
OBJECTIVE = Objective(0.1, SHARE)
QUESTION = Question(Demand(50, (Service(1, 0.1),)), concurrency=2, objective=OBJECTIVE)
"""Of which the recommended number of workers is tried, and one fewer."""
SHAPES: dict[str, tuple[Service, ...]] = {
    "all equal": (Service(1, 0.1, 0),),
    "exponential": (Service(1, 0.1, 1),),
    "one of ten takes eleven times as long": (Service(9, 0.05, 0), Service(1, 0.55, 0)),
}
APP = """
import time
from redis import Redis

ledger = Redis(port={port}, db=5)

@app.task(name="work", acks_late=True)
def work(due, seconds):
    begun = time.time()
    time.sleep(seconds)
    ledger.rpush("waits", f"{{begun - due}} {{time.time() - begun}}")
"""
Plan = list[tuple[float, float]]


def representative(demand: Demand, layout: Layout, tasks: int) -> Plan:
    """A schedule whose waits are those of most."""
    plans = [list(schedule(demand, tasks, seed)) for seed in range(CHOSEN_FROM)]
    plans.sort(key=lambda plan: quantile(sorted(replay(plan, layout)), SHARE))
    return plans[len(plans) // 2]


@contextmanager
def workers(layout: Layout) -> Iterator[tuple[Celery, Redis]]:
    """Workers that run, a client of theirs, and the ledger of their tasks."""
    with tempfile.TemporaryDirectory() as folder, machine_with_redis(Path(folder)) as here, here.client() as client:
        here.pool, here.concurrency, here.prefetch = "threads", layout.concurrency, 1
        here.more = {
            "FLEET_CELERY": json.dumps({"settings": RELIABILITY, "broker_transport_options": TRANSPORT, "lease": 60}),
            "FLEET_LOG": "text",
        }
        release = here.release("r", APP.format(port=here.port))
        for number in range(1, layout.workers + 1):
            here.start(release, number)
        with Redis(port=here.port, db=5) as ledger:
            yield client, ledger


def measure(client: Celery, ledger: Redis, plan: Plan) -> tuple[list[float], list[float]]:
    """The waits and the service times of a schedule, in seconds."""
    ledger.delete("waits")
    began = time.time() + 1
    for at, service in plan:
        time.sleep(max(0.0, began + at - time.time()))
        client.send_task("work", [began + at, service], queue="default")
    if not until(lambda: ledger.llen("waits") == len(plan), 120):
        raise SystemExit(f"{ledger.llen('waits')} of {len(plan)} tasks ran")
    pairs = [tuple(map(float, line.split())) for line in ledger.lrange("waits", 0, -1)]
    return [wait for wait, _ in pairs], [service for _, service in pairs]


def _held(plan: Plan) -> Plan:
    """The schedule with the time that a worker itself holds a slot."""
    return [(at, service + MEASURED.between) for at, service in plan]


def rows(
    seconds: float, shapes: Sequence[str], loads: Sequence[float], say: Callable[[str], object]
) -> tuple[Sequence[Sequence[str]], Overhead]:
    """A row of the table for each shape and load, and what a worker takes here."""
    made: list[tuple[str, ...]] = []
    with workers(LAYOUT) as (client, ledger):
        say(f"{ALONE} tasks that come alone …")
        alone, _ = measure(client, ledger, [(number * EVERY, 0.01) for number in range(ALONE)])
        here = Overhead(fmean(alone), MEASURED.between)
        for shape in shapes:
            for load in loads:
                kinds = SHAPES[shape]
                demand, lasts = Demand(load * LAYOUT.slots / 0.1, kinds), seconds * (LONGER if load == STEADY else 1)
                plan = representative(demand, LAYOUT, int(demand.rate * lasts))
                say(f"{shape}, {load:.0%} busy: {len(plan)} tasks in {lasts:.0f} s …")
                others = busy()
                waits, services = measure(client, ledger, plan)
                real = demand.rate * fmean(services) / LAYOUT.slots
                planned, expected = (forecast(demand, LAYOUT, overhead=overhead).waits[SHARE] for overhead in (MEASURED, here))
                same = here.begins + quantile(sorted(replay(_held(plan), LAYOUT)), SHARE)
                measured = quantile(sorted(waits), SHARE)
                figures = (milliseconds(value) for value in (planned, expected, same, measured))
                made.append((shape, f"{load:.0%}", f"{real:.0%}", *figures, f"{expected / measured:.2f}", f"{others:.0%}"))
    return made, here


def recommended(seconds: float, say: Callable[[str], object]) -> Sequence[Sequence[str]]:
    """A row for the number of workers that is recommended for QUESTION, and one for one fewer."""
    made: list[tuple[str, ...]] = []
    serving = need(QUESTION).serving
    for number in (serving, serving - 1):
        layout = Layout(number, QUESTION.concurrency, QUESTION.concurrency)
        plan = representative(QUESTION.demand, layout, int(QUESTION.demand.rate * seconds))
        say(f"{number} workers: {len(plan)} tasks in {seconds:.0f} s …")
        with workers(layout) as (client, ledger):
            others = busy()
            waits, _ = measure(client, ledger, plan)
        measured = quantile(sorted(waits), SHARE)
        met = "met" if measured <= OBJECTIVE.seconds else "not met"
        made.append(
            (str(number), milliseconds(forecast_of(QUESTION, number).waits[SHARE]), milliseconds(measured), met, f"{others:.0%}")
        )
    return made


def milliseconds(value: float) -> str:
    """A time for a table. value: in seconds."""
    return f"{1000 * value:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long each load but the last lasts (default: 60)")
    parser.add_argument("--load", type=float, choices=LOADS, help="try this load alone")
    parser.add_argument("--shape", choices=SHAPES, help="try this shape of service times alone")
    given = parser.parse_args()
    seconds, is_whole = given.seconds, not (given.load or given.shape)
    head = (
        "service times",
        "load",
        "measured load",
        "fleet plan's p95",
        "forecast p95",
        "simulated",
        "measured",
        "forecast / measured",
        "others' CPU",
    )

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    shapes, loads = [given.shape] if given.shape else [*SHAPES], [given.load] if given.load else LOADS
    measured, here = rows(seconds, shapes, loads, say)
    tried = recommended(seconds, say) if is_whole else ()
    about = "".join(f"- {name}: {value}\n" for name, value in machine().items())
    alone = (f" --load {given.load:g}" if given.load else "") + (f' --shape "{given.shape}"' if given.shape else "")
    sys.stdout.write(
        f"# Forecasts of `fleet plan` beside real workers, {time.strftime('%Y-%m-%d')}\n\n"
        f"    .venv/bin/python -m benchmarks.forecast --seconds {seconds:g}{alone}\n\n{about}"
        f"- a worker begins a task that comes alone after {milliseconds(here.begins)}; `fleet plan` has "
        f'{milliseconds(MEASURED.begins)}, and "forecast p95" what it is here\n\n{table(head, measured)}'
    )
    if tried:
        sys.stdout.write(
            f"\n## What is recommended, and one fewer\n\n"
            f"{QUESTION.demand.rate:g} tasks a second of {QUESTION.demand.service:g} s (exponential), workers of "
            f"{QUESTION.concurrency} slots; {SHARE:.0%} of the tasks may wait {milliseconds(OBJECTIVE.seconds)}.\n\n"
            f"{table(('workers', 'forecast p95', 'measured p95', 'objective', 'others CPU'), tried)}"
        )


if __name__ == "__main__":
    main()
