"""A reading against what the settings ask for: which workers are there, and what each queue has. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fleet_exporter.entries import label
from fleet_exporter.reading import Reading
from fleet_exporter.settings import Settings
from fleet_node.protocol import WorkerSign

SIGN = 90.0
"""Seconds for which a sign, or a connection that said something, shows that a worker without a lease lives. An idle worker gives
a sign each 60."""
SETTLED = 60.0
"""Seconds after its start from which a worker has to consume."""


@dataclass(frozen=True)
class Worker:
    """A worker that is expected, or there. is_up: whether its lease has not ended. heard: seconds since anything of it was heard;
    None if nothing ever was. sign: the last one; None if there is none, or it was of a worker that has ended."""

    node: str
    role: str
    host: str
    is_expected: bool
    is_up: bool
    heard: float | None
    sign: WorkerSign | None

    @property
    def machine(self) -> str:
        """The host name of its machine, as Celery has it."""
        return self.node.rpartition("@")[2]

    @property
    def labels(self) -> tuple[str, str, str]:
        """worker, role, host."""
        return (self.node, self.role, self.host)


@dataclass(frozen=True)
class Queue:
    """A queue. by_priority: kombu's priority → messages. least, most: seconds that its oldest message waits that is due, at least
    and at most; 0 if none is, and None at least and +inf at most if nobody knows. in_flight: running, prefetched, eta, and
    orphaned where that is known."""

    name: str
    by_priority: dict[int, int]
    least: float | None
    most: float
    in_flight: dict[str, int]
    consumers: int
    slots: int
    free: int
    expected: int = 0
    minimum: int = 0
    objective: float | None = None

    @property
    def waiting(self) -> int:
        """Messages of all priorities."""
        return sum(self.by_priority.values())


@dataclass(frozen=True)
class Role:
    """What a role's workers have to do.

    tasks: that they run or have prefetched, and that wait in its queues, also those of queues that other roles consume too; 1 if
    there are none and a worker holds some until their ETA, so that somebody goes on to hold them. What a worker that drains still
    runs is its own to end. age_ratio: how long the oldest waits, divided by its queue's objective; None without an objective, and
    if nobody knows.
    """

    name: str
    tasks: int
    slots: int
    age_ratio: float | None


def roles_of(settings: Settings, workers: list[Worker], queues: list[Queue]) -> list[Role]:
    """The roles that the settings name."""
    named = dict.fromkeys(role for queue in settings.queues.values() for role in queue.roles)
    return [_role(name, settings, workers, queues) for name in named]


def _role(name: str, settings: Settings, workers: list[Worker], queues: list[Queue]) -> Role:
    own = [queue for queue in queues if (expected := settings.queues.get(queue.name)) and name in expected.roles]
    signs = [worker.sign for worker in workers if worker.role == name and worker.is_up and worker.sign]
    signs = [sign for sign in signs if not sign["draining"]]
    held = sum(sum(sign["running"].values()) + sign["reserved"] for sign in signs)
    waiting = sum(queue.waiting + queue.in_flight.get("orphaned", 0) for queue in own)
    later = any(sign["eta"] for sign in signs)
    ratios = [queue.least / queue.objective for queue in own if queue.objective and queue.least is not None]
    return Role(name, held + waiting or int(later), sum(sign["slots"] for sign in signs), max(ratios, default=None))


def workers_of(reading: Reading, settings: Settings) -> list[Worker]:
    """The expected workers in their order, then others that are there."""
    holders: defaultdict[str, list[str]] = defaultdict(list)
    for holder in {*reading.signs, *reading.leases}:
        holders[label(holder.rsplit("|", 4)[0])].append(holder)
    known = {*holders, *reading.connected}
    workers, named = [], set()
    for expected in settings.workers:
        node = next((node for node in expected.nodes if node in known), expected.nodes[0])
        named.add(node)
        workers.append(_worker(node, expected.role, expected.host, True, holders.get(node, []), reading, settings))
    for node in sorted(known - named):
        role, _, machine = node.partition("@")
        worker = _worker(node, role.rpartition("-worker-")[0], machine, False, holders.get(node, []), reading, settings)
        if worker.is_up:
            workers.append(worker)
    return workers


def _worker(node: str, role: str, host: str, is_expected: bool, own: list[str], reading: Reading, settings: Settings) -> Worker:
    """own: the holders that the node is, or was before it was started anew."""
    leases = {holder: reading.leases[holder] for holder in own if holder in reading.leases}
    signs = [sign for holder in own if holder in leases and (sign := reading.signs.get(holder))]
    sign = max(signs, key=lambda sign: sign["at"]) if signs else None
    ages = [max(0.0, reading.now - reading.signs[holder]["at"]) for holder in own if holder in reading.signs]
    if node in reading.connected:
        ages.append(reading.connected[node])
    if settings.lease:
        ages += [max(0.0, reading.now - (ends - settings.lease)) for ends in leases.values() if not math.isinf(ends)]
    heard = min(ages) if ages else None
    endless = any(math.isinf(ends) for ends in leases.values())
    is_up = any(not math.isinf(ends) and ends > reading.now for ends in leases.values()) or (
        endless and heard is not None and heard < SIGN
    )
    return Worker(node, role, host, is_expected, is_up, heard, sign)


def queues_of(reading: Reading, settings: Settings, workers: list[Worker]) -> list[Queue]:
    """The queues that the settings name, then others that are there."""
    names = dict.fromkeys([*settings.queues, *reading.lists])
    return [_queue(name, reading, settings, workers) for name in names]


def _queue(name: str, reading: Reading, settings: Settings, workers: list[Worker]) -> Queue:
    lists = reading.lists.get(name, {})
    consuming = [worker.sign for worker in workers if worker.is_up and worker.sign and name in worker.sign["queues"]]
    alive = [worker.sign for worker in workers if worker.is_up and worker.sign]
    running, prefetched, eta = (sum(sign["held"].get(name, [0, 0, 0])[index] for sign in alive) for index in range(3))
    least, most = _age(reading, lists)
    # RabbitMQ counts also those that take nothing more; and a worker may have been too busy to answer since the exporter started.
    silent = sum(worker.is_up and worker.sign is None for worker in workers)
    orphaned = {"orphaned": _orphaned(name, reading)} if reading.is_aged else {}
    by_priority: dict[int, int] = {}
    for entry, number in lists.items():
        priority = _priority(entry)
        by_priority[priority] = by_priority.get(priority, 0) + number
    expected = settings.queues.get(name)
    return Queue(
        name=name,
        by_priority=by_priority,
        least=least,
        most=most,
        in_flight={"running": running, "prefetched": prefetched, "eta": eta, **orphaned},
        consumers=max(len(consuming), min(reading.consumers.get(name, 0), len(consuming) + silent)),
        slots=sum(sign["slots"] for sign in consuming),
        free=sum(max(0, sign["slots"] - sum(sign["running"].values())) for sign in consuming if not sign["draining"]),
        expected=expected.consumers if expected else 0,
        minimum=expected.minimum if expected else 0,
        objective=expected.objective if expected else None,
    )


def _age(reading: Reading, lists: Mapping[str, int]) -> tuple[float | None, float]:
    """(at least, at most) seconds that the oldest message waits."""
    if not reading.is_aged:
        return None, math.inf if any(lists.values()) else 0.0
    least, most = 0.0, 0.0
    for name, length in lists.items():
        if not length:
            continue
        entry = reading.ages.get(name)
        if entry is None:
            most = math.inf
        elif entry["latest"] is None:
            most = max(most, reading.now - entry["at"] if length > entry["length"] else 0.0)
        else:
            least = max(least, reading.now - entry["latest"])
            most = max(most, reading.now - entry["earliest"] if entry["earliest"] else math.inf)
    return least, most


def _priority(name: str) -> int:
    number = name.rpartition("\x16")[2]
    return int(number) if "\x16" in name and number.isascii() and number.isdigit() and len(number) < 4 else 0


def _orphaned(queue: str, reading: Reading) -> int:
    """Messages of a queue that workers held, as they last said, whose lease has ended and which are not given back yet."""
    dead = (sign for holder, sign in reading.signs.items() if reading.leases.get(holder, math.inf) <= reading.now)
    return sum(sum(sign["held"].get(queue, [])) for sign in dead)


def is_ghost(worker: Worker, now: float) -> bool:
    """Whether a worker is there and consumes nothing, although it neither drains nor has just come."""
    sign = worker.sign
    return bool(
        worker.is_up
        and sign
        and not sign["queues"]
        and not sign["draining"]
        and not sign["unavailable"]
        and now - sign["started_at"] > SETTLED
    )


def source_ages(reading: Reading, workers: list[Worker]) -> Iterator[tuple[str, float]]:
    """(source, seconds since it last said something), of what the fleet writes down in Redis."""
    signs = [reading.now - worker.sign["at"] for worker in workers if worker.is_up and worker.sign]
    if signs:
        yield "signs", max(0.0, min(signs))
    if not reading.is_aged:
        return
    waiting = {name for lists in reading.lists.values() for name, length in lists.items() if length}
    if waiting:
        written = [entry["at"] for name, entry in reading.ages.items() if name in waiting]
        yield "ages", max(0.0, reading.now - max(written)) if written else math.inf
