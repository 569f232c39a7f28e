"""Who is lent out to whom: decisions from one look at a fleet to the next. Pure.

A group that misses its objective gets what it lacks at once, and keeps it until it can do without for some minutes: few moves are
worth more than exact ones. Whoever lends keeps enough for its own tasks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

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
"""Seconds after a worker's start for which its role counts as being rolled out."""

Kind = Literal["lend", "grow", "return", "renew", "lacking", "held"]


@dataclass(frozen=True)
class Order:
    """What one worker is told: for so many seconds it consumes these queues besides its own, and has these slots more. Nothing,
    and 0: it is lent out no longer."""

    node: str
    queues: tuple[str, ...]
    slots: int
    seconds: float


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

    def decide(self, look: Look) -> list[Move]:
        """The moves after a further look."""
        self._looks.append(look)
        while len(self._looks) > 2 and look.at - self._looks[1].at >= LOOKS:
            self._looks.popleft()
        if len(self._looks) < 2:
            return []
        now = _Now(self.terms, look, self.loads)
        return [move for name in self.terms for move in self._of_group(self.terms[name], now)]

    @property
    def loads(self) -> dict[str, Load | None]:
        """Group → what comes to it, as far as that is known, after a look."""
        last = self._looks[-1].at
        recent = [look for look in self._looks if last - look.at <= RECENT]
        return {name: load_of(name, recent if len(recent) > 1 else self._looks) for name in self.terms}

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
                homes = sorted({now.home(worker).name for worker in overdrawn})
                yield _returned(group, overdrawn, f"{', '.join(homes)} needs it itself")
                helpers = [worker for worker in helpers if worker not in overdrawn]
            elif memory.calm_since is not None and at - memory.calm_since >= memory.calm:
                memory.returned_at = at
                yield _returned(group, helpers, f"needs nothing more: {load.slots:.1f} of its {own} slots are busy")
                return
            if due := [worker for worker in helpers if worker.until - at < RENEW]:
                yield Move(group.name, "renew", tuple(Order(w.node, w.lent, w.grown, LOAN) for w in due), "still needed")
        if memory.missed < self.patience:
            return
        if now.is_rolled_out(group):
            yield Move(group.name, "held", (), f"its tasks wait {wait:.0f} s, and its workers are being replaced")
            return
        if at - memory.returned_at < SOON and not helpers:
            memory.calm = min(MOST_CALM, 2 * memory.calm)
        elif not helpers:
            memory.calm = CALM
        lacking = math.ceil(load.slots * HEADROOM + load.behind * load.service / CATCH_UP - serving)
        yield from self._helped(group, now, wait, max(1, lacking))
        memory.missed = 0

    def _can_do_without(self, group: Group, now: _Now) -> bool:
        """Whether a group's own slots are enough for what has come in the last minute."""
        load = load_of(group.name, self._looks)
        return load is not None and load.slots * HEADROOM <= now.own_slots(group, grown=False)

    def _helped(self, group: Group, now: _Now, wait: float, lacking: int) -> Iterator[Move]:
        why = f"its tasks wait {wait:.0f} s, and {group.objective:g} s is its objective: {lacking} slots are lacking"
        lent: list[Order] = []
        for worker in now.lenders(group):
            if lacking <= 0:
                break
            lent.append(Order(worker.node, group.queues, worker.grown, LOAN))
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
    """What follows from a look."""

    terms: Terms
    look: Look
    loads: Mapping[str, Load | None]

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

    def home(self, worker: WorkerNow) -> Group:
        return next(group for group in self.terms.values() if worker.node in group.nodes)

    def overdrawn(self, group: Group, borrowed: list[WorkerNow]) -> list[WorkerNow]:
        """Those whose own group misses its objective by what it lends."""
        result = []
        for worker in borrowed:
            home = self.home(worker)
            load = self.loads[home.name]
            objective = UNSAID if home.objective is None else home.objective
            if load and load.wait(self.own_slots(home)) > NEAR * objective:
                result.append(worker)
        return result

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
        if load is None:
            if self.look.groups[home.name].waiting:
                return []
            load = Load(0.0, 0.0, 0.0, 0, None)
        if load.wait(self.own_slots(home)) > objective / 2:
            return []
        keeps = 0.0 if taken and taken.service > objective else 0.5
        own = self.own(home)
        slots = sum(worker.slots if not worker.lent else worker.slots * keeps for worker in own)
        spared = []
        for worker in sorted((worker for worker in own if not worker.lent), key=lambda worker: (-worker.free, worker.node)):
            slots -= worker.slots * (1 - keeps)
            if slots < load.slots * LENDER or slots <= 0:
                break
            spared.append(worker)
        return spared

    def is_rolled_out(self, group: Group) -> bool:
        """Whether workers of the group are being replaced: nothing is moved meanwhile."""
        workers = [worker for node in group.nodes if (worker := self.look.workers.get(node))]
        return len({worker.release for worker in workers}) > 1 or any(
            worker.is_draining or self.look.at - worker.since < STARTED for worker in workers
        )


def _returned(group: Group, workers: list[WorkerNow], why: str) -> Move:
    return Move(group.name, "return", tuple(Order(worker.node, (), 0, 0.0) for worker in workers), why)
