"""The queues of a fleet: what waits, for how long, what is in flight, and who consumes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.broker.ages import Age, QueueAge
from fleet.plan import process
from fleet.plan.plan import Plan
from fleet_node.protocol import PROBE_TASK, WorkerSign


@dataclass(frozen=True)
class Sample:
    """The broker at one moment. at: Redis's time in seconds. answers: node → its sign with what it has counted.

    last_signs: the same of workers that do not answer just now, and have renewed their lease. ages: queue → what waits. held:
    node → queue → messages, of holders that are silent; returns: node → seconds until these come back, None if they do not by
    themselves. parked: queue → dead letters. problem: why the workers were not asked; empty if they were. consumers: queue →
    those that the broker counts; empty if it does not. signs, renewed, present, unknown: as of a BrokerReport.
    """

    at: float
    answers: Mapping[str, WorkerSign]
    ages: Mapping[str, QueueAge]
    held: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    returns: Mapping[str, float | None] = field(default_factory=dict)
    parked: Mapping[str, int] = field(default_factory=dict)
    last_signs: Mapping[str, WorkerSign] = field(default_factory=dict)
    problem: str = ""
    consumers: Mapping[str, int] = field(default_factory=dict)
    present: Mapping[str, bool] = field(default_factory=dict)
    signs: Mapping[str, tuple[WorkerSign, float]] = field(default_factory=dict)
    renewed: Mapping[str, float | None] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def alive(self) -> dict[str, WorkerSign]:
        """Node → its sign, of workers that are not silent."""
        return {**self.last_signs, **self.answers}

    @property
    def started(self) -> Counter[str]:
        """Queue → tasks of it that the workers have begun, all together."""
        counts: Counter[str] = Counter()
        for sign in self.answers.values():
            for entry in sign["tasks"]:
                counts[entry["queue"]] += entry.get("started", 0)
        return counts


@dataclass(frozen=True)
class Queue:
    """A queue. by_priority: kombu's priority → messages. oldest: None if nothing is due, or the broker does not know (is_aged).

    running, prefetched, eta: messages that workers have, by what they do with them. orphaned: messages of workers that are
    silent, None if the broker does not know; back_s: when the last of them comes back at the latest, in seconds. in_s, out_s:
    messages that come, and tasks that begin, a second; None if not measured. consumers, expected, minimum: workers that consume
    it, that should, and that it keeps in a rollout.
    """

    name: str
    by_priority: Mapping[int, int]
    oldest: Age | None
    running: int
    prefetched: int
    eta: int
    orphaned: int | None
    back_s: float | None
    in_s: float | None
    out_s: float | None
    consumers: int
    expected: int
    minimum: int
    dead_letters: int
    is_aged: bool = True

    @property
    def waiting(self) -> int:
        """Messages of all priorities."""
        return sum(self.by_priority.values())

    @property
    def drained_s(self) -> float | None:
        """Seconds until it is empty if all goes on so; None if it does not become empty, or that is not known."""
        if not self.waiting:
            return 0.0
        if self.in_s is None or self.out_s is None or self.out_s <= self.in_s:
            return None
        return self.waiting / (self.out_s - self.in_s)

    @property
    def is_served(self) -> bool:
        """Whether as many workers consume it as it has to have."""
        return self.consumers >= max(self.minimum, 1 if self.expected or self.waiting else 0)


def queues_of(plan: Plan, before: Sample | None, now: Sample) -> list[Queue]:
    """Every queue that a role names, or that has messages. before: a sample of some seconds ago, for rates."""
    names = dict.fromkeys([*plan.consumers, *(name for name, age in now.ages.items() if sum(age.waiting.values()))])
    return [_queue(name, plan, before, now) for name in names if not name.startswith(f"{PROBE_TASK}.")]


def _queue(name: str, plan: Plan, before: Sample | None, now: Sample) -> Queue:
    age = now.ages.get(name)
    running, prefetched, eta = (
        sum(sign["held"].get(name, [0, 0, 0])[index] for sign in now.alive.values()) for index in range(3)
    )
    orphans = {node: held[name] for node, held in now.held.items() if held.get(name)}
    incoming, outgoing = _rates(name, before, now)
    return Queue(
        name=name,
        by_priority=age.waiting if age else {},
        oldest=age.oldest if age else None,
        running=running,
        prefetched=prefetched,
        eta=eta,
        orphaned=None if "orphaned" in now.unknown else sum(orphans.values()),
        back_s=_latest(now.returns.get(node) for node in orphans),
        in_s=incoming,
        out_s=outgoing,
        consumers=_consumers(name, plan, now),
        expected=plan.consumers.get(name, 0),
        minimum=minimum_of(plan, name),
        dead_letters=now.parked.get(name, 0),
        is_aged=age.is_aged if age else "oldest_s" not in now.unknown,
    )


def _consumers(name: str, plan: Plan, now: Sample) -> int:
    """Workers that consume a queue. One of RabbitMQ's whose loop is busy does not answer: if it is connected, it is taken to
    consume what its role does, unless RabbitMQ counts fewer."""
    known = sum(name in sign["queues"] for sign in now.alive.values())
    if name not in now.consumers:
        return known
    silent = {node for node, is_there in now.present.items() if is_there and node not in now.alive}
    roles = {role for role, places in plan.roles.items() if any(name in place.worker.queues for place in places)}
    busy = sum((parts := process.parse_node(node)) is not None and parts.role in roles for node in silent)
    return max(known, min(now.consumers[name], known + busy))


def minimum_of(plan: Plan, queue: str) -> int:
    """Workers that a queue keeps in a rollout, also if nothing is known of its machines."""
    workers = [worker for host in plan.fleet.hosts.values() for worker in host.workers.values()]
    return max((worker.min_consumers for worker in workers if queue in worker.queues), default=0)


def _latest(times: Iterable[float | None]) -> float | None:
    """The latest; None if one is not known, or there is none."""
    known = list(times)
    return None if not known or None in known else max(time for time in known if time is not None)


def _rates(name: str, before: Sample | None, now: Sample) -> tuple[float | None, float | None]:
    """(in, out) a second. What has come is what has begun, and what waits or is held more than before. Only workers that answered
    both times count, and that have not started anew: those have counted from zero."""
    if before is None or now.at <= before.at:
        return None, None
    nodes = [
        node
        for node, sign in now.answers.items()
        if node in before.answers and abs(sign["started_at"] - before.answers[node]["started_at"]) < 1
    ]
    then, since = (Sample(sample.at, {node: sample.answers[node] for node in nodes}, sample.ages) for sample in (before, now))
    seconds = now.at - before.at
    begun = max(0, since.started[name] - then.started[name])
    grown = _there(name, since) - _there(name, then)
    return max(0.0, begun + grown) / seconds, begun / seconds


def _there(name: str, sample: Sample) -> int:
    """Messages that have not begun: in the queue, fetched, or waiting for their ETA."""
    age = sample.ages.get(name)
    return (sum(age.waiting.values()) if age else 0) + sum(
        sum(sign["held"].get(name, [0])[1:]) for sign in sample.answers.values()
    )


def queues_as_json(queues: Iterable[Queue], unknown: Mapping[str, str]) -> dict[str, Any]:
    """The output of `fleet queues --json`. unknown: what brokers of this kind do not know → why. Its value is null."""
    return {"queues": {queue.name: _as_json(queue) for queue in queues}, "not_known": dict(unknown)}


def _as_json(queue: Queue) -> dict[str, Any]:
    oldest = queue.oldest
    return {
        "waiting": queue.waiting,
        "by_priority": {str(priority): number for priority, number in queue.by_priority.items() if number},
        "oldest_s": None if oldest is None else round(oldest.seconds, 1),
        "oldest_bounds_s": None if oldest is None else [round(oldest.least, 1), _rounded(oldest.most)],
        "in_flight": {
            "running": queue.running,
            "prefetched": queue.prefetched,
            "eta": queue.eta,
            "orphaned": queue.orphaned,
            "orphaned_back_s": _rounded(queue.back_s),
        },
        "in_per_s": _rounded(queue.in_s),
        "out_per_s": _rounded(queue.out_s),
        "drained_s": _rounded(queue.drained_s),
        "consumers": queue.consumers,
        "expected_consumers": queue.expected,
        "min_consumers": queue.minimum,
        "dead_letters": queue.dead_letters,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
