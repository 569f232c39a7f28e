"""A fleet in simulated time: tasks that come, workers that take them from the queues that they consume, and whoever moves
capacity among them. A day takes seconds."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from fleet.capacity.balance.look import GroupNow, Look, WorkerNow
from fleet.capacity.balance.policy import Balancer, Kind
from fleet.capacity.balance.terms import Group

EVERY = 10.0
"""Seconds between two looks."""
Task = tuple[float, str, float]
"""When it comes, to which group, and how long it runs."""
HOUR = 3600.0


@dataclass
class Worker:
    """queues: of groups that it consumes, the next to be asked first."""

    node: str
    group: str
    slots: int
    queues: list[str]
    running: int = 0
    grown: int = 0
    until: float = math.inf
    is_there: bool = True
    since: float = 0.0
    begun: dict[str, int] = field(default_factory=dict)
    ran: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def has_room(self) -> bool:
        return self.is_there and self.running < self.slots + self.grown

    @property
    def lent(self) -> tuple[str, ...]:
        return tuple(sorted(queue for queue in self.queues if queue != self.group))


@dataclass
class SimulatedFleet:
    """waits: group → when each of its tasks came, and the seconds that it waited. changes: (when, kind) of each move."""

    workers: list[Worker]
    waits: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    changes: list[tuple[float, str]] = field(default_factory=list)
    now: float = 0.0
    queues: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)
    _ends: list[tuple[float, int, str, float]] = field(default_factory=list)
    _turn: int = 0

    def run(self, tasks: Iterable[Task], mover: Callable[[SimulatedFleet], None] | None = None, every: float = EVERY) -> None:
        """Let them come. mover: called so often."""
        next_look = every
        for at, group, service in tasks:
            while next_look <= at:
                self._end_until(next_look)
                self._end_loans()
                if mover:
                    mover(self)
                self._hand_out_all()
                next_look += every
            self._end_until(at)
            self.queues.setdefault(group, deque()).append((at, service))
            self._hand_out(group)
        self._end_until(math.inf)

    def lose(self, nodes: Iterable[str], is_there: bool = False) -> None:
        """A machine goes, or comes back: what its workers run is finished elsewhere, which is not simulated."""
        for worker in self.workers:
            if worker.node in nodes and worker.is_there != is_there:
                worker.is_there = is_there
                worker.since = self.now
                worker.begun, worker.ran = {}, {}

    def _hand_out_all(self) -> None:
        for group in self.queues:
            self._hand_out(group)

    def _hand_out(self, group: str) -> None:
        queue = self.queues[group]
        while queue:
            number = len(self.workers)
            for step in range(number):
                worker = self.workers[(self._turn + step) % number]
                if worker.has_room and group in worker.queues:
                    self._turn += step + 1
                    self._begin(worker, group)
                    break
            else:
                return

    def _begin(self, worker: Worker, group: str) -> None:
        at, service = self.queues[group].popleft()
        worker.running += 1
        worker.begun[group] = worker.begun.get(group, 0) + 1
        self.waits.setdefault(group, []).append((at, self.now - at))
        heapq.heappush(self._ends, (self.now + service, self.workers.index(worker), group, service))

    def _end_until(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            at, index, group, service = heapq.heappop(self._ends)
            self.now = at
            worker = self.workers[index]
            worker.running -= 1
            number, seconds = worker.ran.get(group, (0.0, 0.0))
            worker.ran[group] = number + 1, seconds + service
            while worker.has_room and (following := next((name for name in worker.queues if self.queues.get(name)), None)):
                worker.queues.remove(following)
                worker.queues.append(following)
                self._begin(worker, following)
        if now < math.inf:
            self.now = now

    def _end_loans(self) -> None:
        for worker in self.workers:
            if worker.until <= self.now:
                worker.queues, worker.grown, worker.until = [worker.group], 0, math.inf

    def look(self) -> Look:
        """What a balancer sees."""
        there = [worker for worker in self.workers if worker.is_there]
        return Look(
            self.now,
            {
                worker.node: WorkerNow(
                    node=worker.node,
                    slots=worker.slots + worker.grown,
                    free=max(0, worker.slots + worker.grown - worker.running),
                    release="1",
                    since=worker.since - 2 * HOUR,
                    lent=worker.lent,
                    grown=worker.grown,
                    until=worker.until,
                )
                for worker in there
            },
            {
                group: GroupNow(
                    waiting=len(waiting := self.queues.get(group, ())),
                    running=sum(end[2] == group for end in self._ends),
                    held=0,
                    oldest=self.now - waiting[0][0] if waiting else None,
                    begun={worker.node: worker.begun.get(group, 0) for worker in there},
                    ran={worker.node: worker.ran.get(group, (0.0, 0.0)) for worker in there},
                )
                for group in {worker.group for worker in self.workers}
            },
        )


def fleet_of(**slots: list[int]) -> SimulatedFleet:
    """Groups of workers with so many slots each."""
    return SimulatedFleet(
        [
            Worker(f"{group}-{number}", group, each, [group])
            for group, all_slots in slots.items()
            for number, each in enumerate(all_slots)
        ]
    )


def terms_of(fleet: SimulatedFleet, objectives: Mapping[str, float], spare: int = 0) -> dict[str, Group]:
    """Each group takes the tasks of all others."""
    names = dict.fromkeys(worker.group for worker in fleet.workers)
    return {
        name: Group(
            name,
            (name,),
            objectives.get(name),
            tuple(worker.node for worker in fleet.workers if worker.group == name),
            tuple(other for other in names if other != name),
            spare=spare,
        )
        for name in names
    }


class Balancing:
    """The balancer, as a mover."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer

    def __call__(self, fleet: SimulatedFleet) -> None:
        for move in self._balancer.decide(fleet.look()):
            if move.kind in MOVES:
                fleet.changes.append((fleet.now, move.kind))
            for order in move.orders:
                worker = next(worker for worker in fleet.workers if worker.node == order.node)
                worker.queues = [worker.group, *order.queues]
                worker.grown = order.slots
                worker.until = fleet.now + order.seconds if order.seconds else math.inf


MOVES: tuple[Kind, ...] = ("lend", "grow", "return")


def arrivals(
    group: str, rate: Callable[[float], float], seconds: float, service: Callable[[random.Random], float], seed: int, most: float
) -> Iterator[Task]:
    """Tasks that come independently of each other. rate: a second, by time; most: its highest."""
    chance = random.Random(seed)
    at = 0.0
    while (at := at + chance.expovariate(most)) < seconds:
        if chance.random() < rate(at) / most:
            yield at, group, service(chance)


def merged(*traces: Iterable[Task]) -> Iterator[Task]:
    return heapq.merge(*traces)


def p95(waits: Iterable[tuple[float, float]], since: float = 0.0, until: float = math.inf) -> float:
    """Of the tasks that came in that time."""
    values = sorted(wait for at, wait in waits if since <= at < until)
    return values[math.ceil(0.95 * len(values)) - 1]


def worst(waits: Iterable[tuple[float, float]], since: float = 0.0, until: float = math.inf) -> float:
    return max(wait for at, wait in waits if since <= at < until)
