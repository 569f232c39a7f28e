"""What a drill's ledger comes to: what was sent, what began and ended, what never did, and how long it waited. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

Entry = tuple[int, str, float, str]
"""(number, "start" or "end", time in seconds, node)."""


@dataclass(frozen=True)
class Sent:
    """A task that a producer sent. due: when it could first begin (its ETA, or when it was sent), in seconds of Redis' clock."""

    number: int
    kind: str
    queue: str
    due: float


@dataclass(frozen=True)
class Account:
    """lost: numbers that never ended. run_twice: numbers that began more than once. longest_wait: queue → seconds from due to the
    first begin."""

    sent: int
    finished: int
    lost: tuple[int, ...]
    run_twice: tuple[int, ...]
    longest_wait: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """The account as plain values: lists as numbers, with the longest wait of all queues, too."""
        waits = {queue: round(wait, 2) for queue, wait in self.longest_wait.items()}
        return {
            **asdict(self),
            "lost": len(self.lost),
            "run_twice": len(self.run_twice),
            "longest_wait": waits,
            "longest_wait_s": max(waits.values(), default=0.0),
        }


def account(sent: Iterable[Sent], entries: Iterable[Entry], since: float = 0.0, until: float = float("inf")) -> Account:
    """The account of what was due from `since` to `until`."""
    begun: dict[int, list[float]] = {}
    ended: set[int] = set()
    for number, what, at, _ in entries:
        if what == "start":
            begun.setdefault(number, []).append(at)
        else:
            ended.add(number)
    of_phase = [one for one in sent if since <= one.due < until]
    waits: dict[str, float] = {}
    for one in of_phase:
        if one.number in begun:
            wait = max(0.0, min(begun[one.number]) - one.due)
            waits[one.queue] = max(waits.get(one.queue, 0.0), wait)
    return Account(
        sent=len(of_phase),
        finished=sum(one.number in ended for one in of_phase),
        lost=tuple(one.number for one in of_phase if one.number not in ended),
        run_twice=tuple(one.number for one in of_phase if len(begun.get(one.number, ())) > 1),
        longest_wait=waits,
    )
