"""The last minutes of a fleet, as `fleet top` has seen them: they are kept in memory, and end with the program. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fleet.observe.machine import Machine
from fleet.observe.queues import Queue
from fleet.observe.workers import Load
from fleet.rollout import history
from fleet.rollout.history import HistoryEntry

KEPT = 900.0
"""Seconds that are kept."""
RUN, FAULT = "R", "!"
"""The letters of marks."""


class QueuePoint(NamedTuple):
    """A queue at one moment. oldest, out: None if not known."""

    waiting: int
    oldest: float | None
    out: float | None


class Mark(NamedTuple):
    """Something that happened. at: seconds since 1970. letter: RUN or FAULT."""

    at: float
    letter: str
    text: str


@dataclass(frozen=True)
class Trend:
    """points: seconds since 1970 → queue → its point, oldest first. faults: what has gone wrong meanwhile, oldest first."""

    points: tuple[tuple[float, Mapping[str, QueuePoint]], ...] = ()
    faults: tuple[Mark, ...] = ()

    def plus(self, at: float, queues: Iterable[Queue], faults: Iterable[str]) -> Trend:
        """With one more point, and without what is too old. at: seconds since 1970."""
        point = {
            queue.name: QueuePoint(queue.waiting, queue.oldest.seconds if queue.oldest else None, queue.out_s) for queue in queues
        }
        points = (*(entry for entry in self.points if entry[0] > at - KEPT), (at, point))
        marks = (*(mark for mark in self.faults if mark.at > at - KEPT), *(Mark(at, FAULT, text) for text in faults))
        return Trend(points, marks)

    def line(self, queue: str, value: Callable[[QueuePoint], float | None], now: float, columns: int) -> list[float | None]:
        """The greatest value in each of `columns` equal parts of the time that is kept, the last one ends now; None: not seen."""
        parts: list[float | None] = [None] * columns
        for at, queues in self.points:
            index = column(at, now, columns)
            number = value(queues[queue]) if queue in queues else None
            if index is not None and number is not None:
                parts[index] = max(number, parts[index] or 0.0)
        return parts


@dataclass(frozen=True)
class Condition:
    """What is compared to find faults: node → state of workers that are not well, the broker's problem, host → why a machine is
    silent, and its kills for memory."""

    ill: Mapping[str, str] = field(default_factory=dict)
    broker: str = ""
    silent: frozenset[str] = frozenset()
    kills: Mapping[str, int] = field(default_factory=dict)


def condition(load: Load, machines: Mapping[str, Machine]) -> Condition:
    """The condition of a fleet."""
    return Condition(
        {worker.node: worker.state for worker in load.workers if not worker.is_well},
        load.problem,
        frozenset(load.silent),
        {host: machine.oom_kills for host, machine in machines.items()},
    )


def faults(before: Condition | None, now: Condition) -> list[str]:
    """What has gone wrong since. before: None if this is the first look, which knows of no change."""
    if before is None:
        return []
    lines = [now.broker] if now.broker and not before.broker else []
    lines += [f"{node} is {state}" for node, state in now.ill.items() if before.ill.get(node) != state]
    lines += [f"{host} does not answer" for host in sorted(now.silent - before.silent)]
    for host, kills in now.kills.items():
        if kills > before.kills.get(host, kills):
            lines.append(f"{host}: {kills - before.kills[host]} killed for memory")
    return lines


def runs(entries: Iterable[HistoryEntry], now: float) -> list[Mark]:
    """The runs in the history that began in the time that is kept. now: seconds since 1970."""
    marks = []
    for entry in entries:
        at = history.began(entry)
        if at is not None and now - KEPT < at <= now:
            marks.append(Mark(at, RUN, f"{entry.get('what')} by {entry.get('who')}: {entry.get('outcome', 'at work')}"))
    return marks


def column(at: float, now: float, columns: int) -> int | None:
    """In which of `columns` parts of the time that is kept a moment is; None if in none."""
    if not now - KEPT <= at <= now:
        return None
    return min(int((at - (now - KEPT)) / KEPT * columns), columns - 1)
