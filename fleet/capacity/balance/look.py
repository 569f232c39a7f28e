"""A fleet at one moment, as far as moving capacity goes by it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from fleet.capacity.balance.terms import Terms
from fleet_node.protocol import Lent, WorkerSign


@dataclass(frozen=True)
class WorkerNow:
    """slots: with those that it has for a time, which are `grown`. free: slots that run nothing and have nothing before them.
    lent: queues of other groups that it consumes; until: when that ends, by the broker's time. since: when it started."""

    node: str
    slots: int
    free: int
    release: str
    since: float
    is_draining: bool = False
    lent: tuple[str, ...] = ()
    grown: int = 0
    until: float = 0.0


@dataclass(frozen=True)
class GroupNow:
    """waiting: tasks in its queues. running, held: its tasks that all workers run, and have fetched and not begun. oldest:
    seconds that the oldest task waits; None if nothing waits or the broker does not know. begun: tasks of it that each worker has
    begun since it started, by node. ran: by node, how many of it have succeeded since then, and the seconds that they ran all
    together."""

    waiting: int
    running: int
    held: int
    oldest: float | None
    begun: Mapping[str, int]
    ran: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Look:
    """at: the broker's time, in seconds since 1970. workers: by node, of those that live. groups: by name."""

    at: float
    workers: Mapping[str, WorkerNow]
    groups: Mapping[str, GroupNow]


NOTHING: Lent = {"queues": [], "slots": 0, "until": 0.0}


def look_of(
    terms: Terms,
    at: float,
    signs: Collection[WorkerSign],
    waiting: Mapping[str, int],
    oldest: Mapping[str, float],
) -> Look:
    """signs: of workers that live, with what they have counted. waiting: queue → tasks. oldest: queue → seconds, of queues of
    which that is known."""
    groups = {}
    for name, group in terms.items():
        ages = [oldest[queue] for queue in group.queues if queue in oldest]
        groups[name] = GroupNow(
            waiting=sum(waiting.get(queue, 0) for queue in group.queues),
            running=sum(sign["held"].get(queue, [0, 0])[0] for sign in signs for queue in group.queues),
            held=sum(sign["held"].get(queue, [0, 0])[1] for sign in signs for queue in group.queues),
            oldest=max(ages, default=None),
            begun={sign["node"]: _begun(sign, group.queues) for sign in signs},
            ran={sign["node"]: _ran(sign, group.queues) for sign in signs},
        )
    return Look(at, {sign["node"]: _worker(sign) for sign in signs}, groups)


def _worker(sign: WorkerSign) -> WorkerNow:
    lent = sign.get("lent") or NOTHING
    return WorkerNow(
        node=sign["node"],
        slots=sign["slots"],
        free=max(0, sign["slots"] - sum(sign["running"].values()) - sign["reserved"]),
        release=sign["release"],
        since=sign["started_at"],
        is_draining=sign["draining"] or bool(sign["unavailable"]),
        lent=tuple(lent["queues"]),
        grown=lent["slots"],
        until=lent["until"],
    )


def _begun(sign: WorkerSign, queues: Iterable[str]) -> int:
    return sum(counts.get("started", 0) for counts in sign["tasks"] if counts["queue"] in queues)


def _ran(sign: WorkerSign, queues: Iterable[str]) -> tuple[float, float]:
    entries = [counts["runtime"] for counts in sign["tasks"] if counts["queue"] in queues and counts.get("runtime")]
    return sum(sum(entry[1:]) for entry in entries), sum(entry[0] for entry in entries)
