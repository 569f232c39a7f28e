"""The account of a drill's ledger: tasks sent, finished, lost and run twice, and how long they waited. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

Entry = tuple[int, str, float, str]
"""(task number, "start" or "end", seconds of Redis' clock, node)."""


@dataclass(frozen=True)
class Sent:
    """A task that a producer sent. due: when it could first begin (its ETA, or when it was sent), in seconds of Redis' clock."""

    number: int
    kind: str
    queue: str
    due: float


@dataclass(frozen=True)
class Account:
    """How the tasks went. lost: numbers of tasks that never ended. run_twice: of tasks that began more than once.

    longest_wait: queue → seconds from due to the first begin.
    """

    sent: int
    finished: int
    lost: tuple[int, ...]
    run_twice: tuple[int, ...]
    longest_wait: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """The account as plain values: counts in place of lists, and the longest wait of all queues."""
        waits = {queue: round(wait, 2) for queue, wait in self.longest_wait.items()}
        return {
            **asdict(self),
            "lost": len(self.lost),
            "run_twice": len(self.run_twice),
            "longest_wait": waits,
            "longest_wait_s": max(waits.values(), default=0.0),
        }


def account(sent: Iterable[Sent], entries: Iterable[Entry], since: float = 0.0, until: float = float("inf")) -> Account:
    """The account of the tasks that were due from `since` to `until`."""
    begun: dict[int, list[float]] = {}
    ended: set[int] = set()
    for number, event, at, _ in entries:
        if event == "start":
            begun.setdefault(number, []).append(at)
        else:
            ended.add(number)
    tasks = [task for task in sent if since <= task.due < until]
    waits: dict[str, float] = {}
    for task in tasks:
        if task.number in begun:
            wait = max(0.0, min(begun[task.number]) - task.due)
            waits[task.queue] = max(waits.get(task.queue, 0.0), wait)
    return Account(
        sent=len(tasks),
        finished=sum(task.number in ended for task in tasks),
        lost=tuple(task.number for task in tasks if task.number not in ended),
        run_twice=tuple(task.number for task in tasks if len(begun.get(task.number, ())) > 1),
        longest_wait=waits,
    )
