"""How much comes to a group, and how long its tasks wait, from looks at it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from fleet.capacity.balance.look import Look

ENOUGH = 5
"""Tasks that have to end between two looks for their time to count, in place of that of all since the workers started."""


@dataclass(frozen=True)
class Load:
    """rate: tasks that come, a second. service: seconds that one runs, on average. running: tasks, on average. behind: those that
    have not begun. oldest: seconds that the oldest waits; None if the broker does not know."""

    rate: float
    service: float
    running: float
    behind: int
    oldest: float | None

    @property
    def slots(self) -> float:
        """That what comes keeps busy. Of long tasks few come, and those that run say it better."""
        return max(self.rate * self.service, self.running)

    def wait(self, slots: float) -> float:
        """Seconds that a task waits that comes now, and those that wait already, if so many slots work for it."""
        ahead = self.behind * self.service / slots if slots else float("inf") if self.behind else 0.0
        return max(ahead, self.oldest or 0.0)


def load_of(name: str, looks: Sequence[Look], service: float | None = None) -> Load | None:
    """Of a group. looks: of the last seconds, the oldest first. service: seconds that its tasks ran when that was last known.
    None if it is not known: there is only one look, or none of its tasks has ever ended."""
    first, last = looks[0], looks[-1]
    seconds = last.at - first.at
    before, now = first.groups[name], last.groups[name]
    # A worker that has started anew has counted from zero.
    since = {node: worker.since for node, worker in first.workers.items()}
    same = [node for node, worker in last.workers.items() if node in since and abs(worker.since - since[node]) < 1]
    number = sum(now.ran[node][0] - before.ran[node][0] for node in same)
    total = sum(now.ran[node][1] - before.ran[node][1] for node in same)
    if number < ENOUGH:
        number, total = (sum(ran[part] for ran in now.ran.values()) for part in (0, 1))
    if seconds <= 0 or not (number or service):
        return None
    begun = sum(now.begun[node] - before.begun[node] for node in same)
    grown = now.waiting + now.held - before.waiting - before.held
    return Load(
        rate=max(0.0, begun + grown) / seconds,
        service=total / number if number else service or 0.0,
        running=fmean(look.groups[name].running for look in looks),
        behind=now.waiting + now.held,
        oldest=now.oldest,
    )
