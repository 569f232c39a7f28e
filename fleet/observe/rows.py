"""The rows that `fleet top` shows, and where they are known from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.observe.machine import Machine
from fleet.observe.queues import Queue
from fleet.observe.slots import Slots
from fleet.observe.workers import WorkerLoad
from fleet.rollout.history import HistoryEntry

STALE = {"broker": 10.0, "machines": 20.0, "records": 30.0}
"""Seconds after which what a source said is old, at the least."""


@dataclass(frozen=True)
class Records:
    """The broker's machine on runs. held: the lock's content; empty if nobody holds it. entries: the last runs, oldest first."""

    held: str = ""
    entries: tuple[HistoryEntry, ...] = ()


@dataclass(frozen=True)
class Drift:
    """differing: host → what a deploy would change there. unknown: host → why that is not known. hosts: that were looked at."""

    differing: Mapping[str, list[str]] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    hosts: int = 0


@dataclass(frozen=True)
class Source:
    """Where something is known from. age: seconds since it last said something; None if it never has. problem: why it is silent
    now, or not whole. lasts: seconds for which what it said is taken for true."""

    name: str
    age: float | None
    problem: str
    lasts: float

    @property
    def is_old(self) -> bool:
        """Whether what it said is too old to be true."""
        return self.age is None or self.age > self.lasts


@dataclass(frozen=True)
class QueueRow:
    """objective: seconds that its tasks may wait; None if nobody says. paused: by whom and since when, if it is."""

    queue: Queue
    objective: float | None
    paused: str = ""

    @property
    def share(self) -> float | None:
        """Of the objective, that the oldest has waited; 1.0 is all of it. None if there is no objective, or nobody knows."""
        if not self.objective or (self.queue.waiting and not self.queue.is_aged):
            return None
        return self.queue.oldest.seconds / self.objective if self.queue.oldest else 0.0

    @property
    def rank(self) -> tuple[float, ...]:
        """Sorts the worst first."""
        return (
            self.queue.is_served,
            not self.paused,
            -(self.share or 0.0),
            -self.queue.waiting,
        )


@dataclass(frozen=True)
class WorkerRow:
    """limit: seconds that its tasks may take; None if not known."""

    load: WorkerLoad
    slots: Slots
    limit: int | None = None

    @property
    def silence(self) -> float:
        """Seconds since any witness has heard of it."""
        return min((age for age in self.load.heard_s.values() if age is not None), default=float("inf"))


@dataclass(frozen=True)
class MachineRow:
    """machine: the last that it said; None if it has never answered. memory, memory_max: bytes of its workers, together."""

    host: str
    roles: tuple[str, ...]
    machine: Machine | None
    age: float | None
    why: str
    memory: int
    memory_max: int


@dataclass(frozen=True)
class RoleRow:
    """releases: release → workers that run it. moving: its workers that drain or start."""

    role: str
    workers: int
    well: int
    releases: Mapping[str, int]
    moving: tuple[str, ...]
