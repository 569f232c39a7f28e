"""Who is lent out to whom: decisions from one look at a fleet to the next. Pure.

A group that misses its objective gets what it lacks at once, and keeps it until it can do without for some minutes: few moves are
worth more than exact ones. Whoever lends keeps enough for its own tasks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fleet.capacity.balance.load import Load, load_of
from fleet.capacity.balance.look import Look, WorkerNow
from fleet.capacity.balance.terms import Group, Terms

RECENT = 30.0
"""Seconds over which is measured what a group lacks."""
LOOKS = 60.0
"""The same, of what it can do without."""
NEAR = 0.8
"""Share of its objective at which a group counts as missing it: what is decided takes some seconds to help."""
PATIENCE = 2
"""Looks: a single one may be of chance."""
UNSAID = 10.0
"""Seconds that tasks of a group may wait of which nobody said it, while it lends."""
CATCH_UP = 30.0
"""Seconds in which what waits is to be caught up with."""
HEADROOM = 1.25
"""Slots for one that is busy, of who is to do without what it has borrowed."""
LENDER = 1.1
"""The same of who lends. It gets its workers back if it has lent too many."""
CALM = 120.0
"""Seconds for which a group has to need nothing before it gives back."""
MOST_CALM = 900.0
"""The same at most: it doubles each time that a group borrows again soon after it has given back."""
SOON = 900.0
"""Seconds after it has given back in which that counts as soon."""
LOAN = 300.0
"""Seconds of a loan. It is made longer while it is needed, so that it ends soon if whoever decides has died."""
RENEW = 150.0
"""Seconds before its end at which a loan is made longer."""
STARTED = 60.0
"""Seconds after a worker has started, drains or is not there any more for which its role counts as being rolled out. After that,
one that is not there is lost."""

Kind = Literal["lend", "grow", "return", "renew", "lacking", "held"]


@dataclass(frozen=True)
class Order:
    """What one worker is told: for so many seconds it consumes these queues besides its own, and has these slots more. Nothing,
    and 0: it is lent out no longer."""

    node: str
    queues: tuple[str, ...]
    slots: int
    seconds: float

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of the remote control command `fleet_lend`."""
        return {"queues": list(self.queues), "slots": self.slots, "seconds": self.seconds}


@dataclass(frozen=True)
class Move:
    """What is decided for a group, and why. "lacking": nobody has the slots for it; lacking says how many. "held": its workers
    are being replaced, and nothing is moved meanwhile. Only "lend", "grow" and "return" change who works for whom."""

    group: str
    kind: Kind
    orders: tuple[Order, ...]
    why: str
    lacking: int = 0


@dataclass
class _Memory:
    missed: int = 0
    calm_since: float | None = None
    calm: float = CALM
    returned_at: float = -math.inf


@dataclass
class Balancer:
    """Decides for one fleet. What it forgets when it ends, the workers' signs tell it: who is lent out. patience: looks in a row
    in which a group misses its objective before something is moved."""

    terms: Terms
    patience: int = PATIENCE
    _looks: deque[Look] = field(default_factory=deque)
    _memories: dict[str, _Memory] = field(default_factory=dict)
    _services: dict[str, float] = field(default_factory=dict)
    _settled: dict[str, float] = field(default_factory=dict)
    """Node → when it last was there, of those that did not drain then."""

    def decide(self, look: Look) -> list[Move]:
        """The moves after a further look."""
        self._looks.append(look)
        self._settled |= {node: look.at for node, worker in look.workers.items() if not worker.is_draining}
        while len(self._looks) > 2 and look.at - self._looks[1].at >= LOOKS:
            self._looks.popleft()
        if len(self._looks) < 2:
            return []
        loads = self.loads
        self._services |= {name: load.service for name, load in loads.items() if load}
        now = _Now(self.terms, look, loads, self._settled)
        return [move for name in self.terms for move in self._of_group(self.terms[name], now)]

    @property
    def loads(self) -> dict[str, Load | None]:
        """Group → what comes to it, as far as that is known, after a look."""
        last = self._looks[-1].at
        recent = [look for look in self._looks if last - look.at <= RECENT]
        return {name: load_of(name, recent if len(recent) > 1 else self._looks, self._services.get(name)) for name in self.terms}

    def _of_group(self, group: Group, now: _Now) -> Iterator[Move]:
        memory = self._memories.setdefault(group.name, _Memory())
        load, borrowed = now.loads[group.name], now.borrowed(group)
        if group.objective is None or load is None:
            return
        own, at = now.own_slots(group), now.look.at
        serving = own + sum(worker.slots / 2 for worker in borrowed)
        wait = load.wait(serving)
        memory.missed = memory.missed + 1 if wait > NEAR * group.objective else 0
        is_calm = wait < group.objective / 3 and self._can_do_without(group, now)
        memory.calm_since = (memory.calm_since if memory.calm_since is not None else at) if is_calm else None
        helpers = [*borrowed, *(worker for worker in now.own(group) if worker.grown)]
        if helpers:
            if overdrawn := now.overdrawn(group, borrowed):
                memory.returned_at = at
                homes = sorted({home.name for worker in overdrawn if (home := now.home(worker))})
                yield _returned(group, overdrawn, at, f"{', '.join(homes)} needs it itself")
                helpers = [worker for worker in helpers if worker not in overdrawn]
            elif memory.calm_since is not None and at - memory.calm_since >= memory.calm and not now.is_rolled_out(group):
                memory.returned_at = at
                yield _returned(group, helpers, at, f"needs nothing more: {load.slots:.1f} of its {own} slots are busy")
                return
            if due := [worker for worker in helpers if worker.until - at < RENEW]:
                yield Move(group.name, "renew", tuple(Order(w.node, w.lent, w.grown, LOAN) for w in due), "still needed")
        if memory.missed < self.patience:
            return
        if now.is_rolled_out(group):
            yield Move(group.name, "held", (), f"{_waits(wait)}, and its workers are being replaced")
            return
        lacking = math.ceil(load.slots * HEADROOM + load.behind * load.service / CATCH_UP - serving)
        moves = list(self._helped(group, now, wait, max(1, lacking)))
        if not helpers and any(move.orders for move in moves):
            memory.calm = min(MOST_CALM, 2 * memory.calm) if at - memory.returned_at < SOON else CALM
        memory.missed = 0
        yield from moves

    def _can_do_without(self, group: Group, now: _Now) -> bool:
        """Whether a group's own slots are enough for what has come in the last minute."""
        load = load_of(group.name, self._looks, self._services.get(group.name))
        return load is not None and load.slots * HEADROOM <= now.own_slots(group, grown=False)

    def _helped(self, group: Group, now: _Now, wait: float, lacking: int) -> Iterator[Move]:
        lack = f"{lacking} slot{' is' if lacking == 1 else 's are'} lacking"
        why = f"{_waits(wait)}, and {group.objective:g} s is its objective: {lack}"
        lent: list[Order] = []
        for worker in now.lenders(group):
            if lacking <= 0:
                break
            lent.append(Order(worker.node, group.queues, worker.grown, LOAN))
            now.taken.add(worker.node)
            lacking -= max(1, worker.free)
        if lent:
            yield Move(group.name, "lend", tuple(lent), why)
        grown: list[Order] = []
        for worker in now.own(group):
            if lacking <= 0:
                break
            if more := min(lacking, group.spare - worker.grown):
                grown.append(Order(worker.node, worker.lent, worker.grown + more, LOAN))
                lacking -= more
        if grown:
            yield Move(group.name, "grow", tuple(grown), why)
        if lacking > 0:
            yield Move(group.name, "lacking", (), f"{why}, and nobody has more of them", lacking)


@dataclass(frozen=True)
class _Now:
    """What follows from a look. settled: node → when it last was there, and did not drain. taken: nodes that are lent out by what
    was decided after this look."""

    terms: Terms
    look: Look
    loads: Mapping[str, Load | None]
    settled: Mapping[str, float]
    taken: set[str] = field(default_factory=set)

    def own(self, group: Group) -> list[WorkerNow]:
        """A group's workers that take tasks."""
        workers = (self.look.workers.get(node) for node in group.nodes)
        return [worker for worker in workers if worker and not worker.is_draining]

    def own_slots(self, group: Group, grown: bool = True) -> int:
        return sum(worker.slots - (0 if grown else worker.grown) for worker in self.own(group))

    def borrowed(self, group: Group) -> list[WorkerNow]:
        """Workers of others that consume a queue of the group."""
        own = set(group.nodes)
        return [
            worker
            for worker in self.look.workers.values()
            if worker.node not in own and not worker.is_draining and set(worker.lent) & set(group.queues)
        ]

    def home(self, worker: WorkerNow) -> Group | None:
        """The group of a worker; None if the settings know it no more."""
        return next((group for group in self.terms.values() if worker.node in group.nodes), None)

    def overdrawn(self, group: Group, borrowed: list[WorkerNow]) -> list[WorkerNow]:
        """Those whose own group misses its objective by what it lends."""
        result = []
        for worker in borrowed:
            if (home := self.home(worker)) and self.wait(home) > NEAR * (UNSAID if home.objective is None else home.objective):
                result.append(worker)
        return result

    def wait(self, group: Group) -> float:
        """How long a group's tasks wait with its own slots. If nobody knows how long they run: as long as the oldest has."""
        now, load = self.look.groups[group.name], self.loads[group.name]
        if load is None:
            return (math.inf if now.oldest is None else now.oldest) if now.waiting else 0.0
        return load.wait(self.own_slots(group))

    def lenders(self, group: Group) -> Iterator[WorkerNow]:
        """Workers of others that have room for the group's tasks, those with the most free slots first."""
        candidates: list[WorkerNow] = []
        for home in self.terms.values():
            if group.name in home.takes and home.name != group.name and not self.is_rolled_out(home):
                candidates += self._spared(home, group)
        yield from sorted(candidates, key=lambda worker: (-worker.free, worker.node))

    def _spared(self, home: Group, group: Group) -> list[WorkerNow]:
        """Workers that a group can spare: the others carry its load alone if what it takes in runs for long, and with half of the
        slots that are lent out if not."""
        load, taken = self.loads[home.name], self.loads[group.name]
        objective = UNSAID if home.objective is None else home.objective
        if self.wait(home) > objective / 2:
            return []
        busy = load.slots if load else self.look.groups[home.name].running
        keeps = 0.0 if taken and taken.service > objective else 0.5
        own = self.own(home)
        slots = sum(worker.slots if not worker.lent else worker.slots * keeps for worker in own)
        spared = []
        free = [worker for worker in own if not worker.lent and worker.node not in self.taken]
        for worker in sorted(free, key=lambda worker: (-worker.free, worker.node)):
            slots -= worker.slots * (1 - keeps)
            if slots < busy * LENDER or slots <= 0:
                break
            spared.append(worker)
        return spared

    def is_rolled_out(self, group: Group) -> bool:
        """Whether workers of the group are being replaced: nothing is moved meanwhile."""
        workers = [worker for node in group.nodes if (worker := self.look.workers.get(node))]
        ages = [self.look.at - self.settled[node] for node in group.nodes if node in self.settled]
        if any(0 < age < STARTED for age in ages):
            return True
        return len({worker.release for worker in workers}) > 1 or any(
            worker.is_draining or self.look.at - worker.since < STARTED for worker in workers
        )


def _returned(group: Group, workers: Iterable[WorkerNow], at: float, why: str) -> Move:
    """What they have of others stays as it is."""
    return Move(group.name, "return", tuple(_without(group, worker, at) for worker in workers), why)


def _without(group: Group, worker: WorkerNow, at: float) -> Order:
    lent = tuple(queue for queue in worker.lent if queue not in group.queues)
    grown = 0 if worker.node in group.nodes else worker.grown
    return Order(worker.node, lent, grown, max(1.0, worker.until - at) if lent or grown else 0.0)


def _waits(seconds: float) -> str:
    return f"its tasks wait {seconds:.0f} s" if seconds < math.inf else "its tasks wait, and no worker of it is there"
