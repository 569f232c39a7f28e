"""What the workers that a load needs take of machines, memory and the broker. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fleet.capacity.demand import Demand
from fleet.capacity.station import Station
from fleet.spec.fleet import Transport
from fleet.spec.text import count

TASK_COMMANDS = 15
"""Commands of Redis for a task with a result: of its producer, of its worker, and for its result (benchmarks/wakeup.py)."""
IDLE_COMMANDS = 0.5
"""Commands of Redis that an idle worker sends a second (benchmarks/wakeup.py)."""


@dataclass(frozen=True)
class Resources:
    """What some workers take. machines: if each has as many of them as now, on average. memory: bytes. connections: to the
    broker, at most. commands: that they and producers send to Redis in a second; None with RabbitMQ."""

    machines: int
    memory: int
    connections: int
    commands: float | None


def resources(station: Station, demand: Demand, workers: int, transport: Transport) -> Resources:
    """What so many workers of a station take, which has at least one."""
    return Resources(
        machines=math.ceil(workers * station.machines / station.workers),
        memory=workers * station.memory,
        connections=workers * station.connections,
        commands=demand.rate * TASK_COMMANDS + workers * IDLE_COMMANDS if transport == "redis" else None,
    )


def explain(station: Station, taken: Resources, workers: int) -> Iterator[str]:
    """The steps, a line each."""
    each = f"{station.workers / station.machines:.2g}"
    yield f"with {each} a machine, as now: {count(taken.machines, 'machine')}, and there {_are(station.machines)}"
    yield f"{workers} × {station.memory >> 20} MB of memory: {taken.memory >> 20} MB"
    yield f"{workers} × {station.connections} connections to the broker at most: {taken.connections}"
    if taken.commands is not None:
        each = f"{TASK_COMMANDS} commands of Redis for a task, {IDLE_COMMANDS:g} a second for a worker"
        yield f"{each}: {taken.commands:.0f} a second"


def _are(number: int) -> str:
    return "is 1" if number == 1 else f"are {number}"
