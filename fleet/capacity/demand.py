"""What comes to a queue: how many tasks a second, and how long they take. Pure.

A spread is a squared coefficient of variation: variance / mean². It is 0 for a constant, 1 for an exponential, and far above 1
if a few tasks are a hundred times as long as the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Service:
    """A kind of task. weight: its share of the arrivals. mean: seconds that it holds a slot. spread: of those."""

    weight: float
    mean: float
    spread: float = 1.0


@dataclass(frozen=True)
class Demand:
    """What comes to a queue. rate: tasks a second. kinds: of tasks; their weights need not sum to 1. bursts: spread of the times
    between arrivals."""

    rate: float
    kinds: tuple[Service, ...]
    bursts: float = 1.0

    @property
    def service(self) -> float:
        """Seconds that a task holds a slot, on average."""
        return self._moment(lambda kind: kind.mean)

    @property
    def spread(self) -> float:
        """Spread of the service times of all kinds together: a mixture of short and long tasks has a large one."""
        second = self._moment(lambda kind: kind.mean**2 * (1 + kind.spread))
        return second / self.service**2 - 1

    @property
    def load(self) -> float:
        """Slots that are busy on average."""
        return self.rate * self.service

    def held(self, longer: float) -> Demand:
        """The same tasks, each of which holds a slot for so many seconds more."""
        kinds = [
            replace(kind, mean=(mean := kind.mean + longer), spread=kind.spread * (kind.mean / mean) ** 2) for kind in self.kinds
        ]
        return replace(self, kinds=tuple(kinds))

    def _moment(self, of: Callable[[Service], float]) -> float:
        return sum(kind.weight * of(kind) for kind in self.kinds) / sum(kind.weight for kind in self.kinds)
