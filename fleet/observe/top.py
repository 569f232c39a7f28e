"""All that `fleet top` shows of one moment: a fleet in eight parts. Pure; `fleet.observe.watch` asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.observe.broker import BrokerReport, absent
from fleet.observe.findings import Finding, Pause, findings, forgiven, idle_by_pause, paused_queues
from fleet.observe.machine import Machine
from fleet.observe.queues import Sample, queues_of
from fleet.observe.rows import STALE, Drift, MachineRow, QueueRow, Records, RoleRow, Source, WorkerRow
from fleet.observe.slots import slots_of, usual
from fleet.observe.workers import Load, load_of
from fleet.plan import process
from fleet.plan.plan import Plan
from fleet.rollout import lock
from fleet.rollout.history import HistoryEntry


@dataclass(frozen=True)
class Reading:
    """What was last learnt, each with its age in seconds. machines, silent: by host. ages: host → seconds since it answered.
    answered: node → the same of a worker.

    broker, sample: the last that came; broker_problem: why no other has come since. before: a sample of some seconds before.
    interval: seconds between two looks at the broker. drift: None until all machines have been compared.
    """

    plan: Plan
    machines: Mapping[str, Machine] = field(default_factory=dict)
    ages: Mapping[str, float] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)
    answered: Mapping[str, float] = field(default_factory=dict)
    broker: BrokerReport | None = None
    sample: Sample | None = None
    before: Sample | None = None
    broker_age: float | None = None
    interval: float = 2.0
    broker_problem: str = ""
    records: Records = field(default_factory=Records)
    records_age: float | None = None
    records_problem: str = ""
    drift: Drift | None = None
    drift_age: float | None = None
    drift_problem: str = ""


@dataclass(frozen=True)
class Look:
    """The whole screen. is_whole: whether all have been asked at least once. judged: the load in which workers count as well that
    are not, and for which that is no fault. holder: who holds the lock, in words."""

    sources: tuple[Source, ...]
    findings: tuple[Finding, ...]
    queues: tuple[QueueRow, ...]
    workers: tuple[WorkerRow, ...]
    machines: tuple[MachineRow, ...]
    roles: tuple[RoleRow, ...]
    load: Load
    judged: Load
    is_whole: bool
    holder: str = ""
    entries: tuple[HistoryEntry, ...] = ()
    drift: Drift | None = None
    drift_age: float | None = None
    drift_problem: str = ""

    def source(self, name: str) -> Source:
        """A source by its name."""
        return next(source for source in self.sources if source.name == name)

    def consumers_of(self, queue: str) -> list[str]:
        """Nodes that consume a queue."""
        return [row.load.node for row in self.workers if queue in row.load.queues]

    def could_consume(self, queue: str) -> list[str]:
        """Nodes that answer, do not consume a queue, and should by their role."""
        roles = {role.role for role in self.load.roles if queue in role.queues}
        others = [row.load for row in self.workers if row.load.role in roles and queue not in row.load.queues]
        return [load.node for load in others if load.state in ("idle", "busy", "ghost")]

    def short_without(self, worker: WorkerRow) -> list[str]:
        """Queues that have fewer consumers than they have to have without a worker."""
        queues = [row.queue for row in self.queues if row.queue.name in worker.load.queues]
        return [queue.name for queue in queues if queue.consumers - 1 < max(1, queue.minimum)]


def look_of(reading: Reading, objectives: Mapping[str, float], inventory: str) -> Look:
    """Put a look together. objectives: queue → seconds. inventory: its path, for commands."""
    sources = _sources(reading)
    broker = reading.broker
    if broker is None or sources[0].is_old:
        broker = absent(reading.broker_problem or "the broker has not answered yet")
    load = load_of(reading.plan, reading.machines, reading.silent, broker)
    holder = lock.explain(reading.records.held, inventory) if reading.records.held else ""
    paused = {
        queue: pause.words for queue, pause in paused_queues(reading.records.entries).items() if _lasts(queue, pause, reading)
    }
    queues = tuple(
        QueueRow(queue, objectives.get(queue.name), paused.get(queue.name, ""))
        for queue in (queues_of(reading.plan, reading.before, reading.sample) if reading.sample else ())
    )
    workers = _workers(reading, load, broker)
    whole = bool(reading.broker or reading.broker_problem) and _with_workers(reading) <= {*reading.ages, *reading.silent}
    judged = forgiven(load, {*idle_by_pause(load, {row.queue.name for row in queues if row.paused}), *_unsettled(load, reading)})
    found = findings(judged, queues, workers, reading.records, inventory) if whole else ()
    return Look(
        sources=sources,
        findings=tuple(found),
        queues=queues,
        workers=workers,
        machines=_machines(reading, load),
        roles=_roles(load),
        load=load,
        judged=judged,
        is_whole=whole,
        holder=holder,
        entries=reading.records.entries,
        drift=reading.drift,
        drift_age=reading.drift_age,
        drift_problem=reading.drift_problem,
    )


def _unsettled(load: Load, reading: Reading) -> set[str]:
    """Workers that have just ceased to answer, and whose machine has not said why yet: a restart looks like this."""
    return {
        worker.node
        for worker in load.workers
        if worker.state == "unknown"
        and reading.answered.get(worker.node, float("inf")) < reading.ages.get(worker.host, 0.0) < STALE["machines"]
    }


def _lasts(queue: str, pause: Pause, reading: Reading) -> bool:
    """Whether a worker that was there at the pause still does not consume the queue. One that has started since does."""
    roles = {role for role, places in reading.plan.roles.items() if any(queue in place.worker.queues for place in places)}
    signs = reading.sample.alive.items() if reading.sample else ()
    return any(
        (name := process.parse_node(node)) is not None
        and name.role in roles
        and queue not in sign["queues"]
        and not sign["draining"]
        and sign["started_at"] <= pause.at
        for node, sign in signs
    )


def _with_workers(reading: Reading) -> set[str]:
    return {host.name for host in reading.plan.fleet.hosts.values() if host.workers}


def _sources(reading: Reading) -> tuple[Source, ...]:
    expected = _with_workers(reading)
    ages = [reading.ages.get(host) for host in expected]
    known = [age for age in ages if age is not None]
    silent = f"{len(reading.silent)} of {len(expected)} silent" if reading.silent else ""
    broker, lasts = reading.broker, max(STALE["broker"], 3 * reading.interval)
    return (
        Source("broker", reading.broker_age, reading.broker_problem or (broker.problem if broker else ""), lasts),
        Source("workers", reading.broker_age, reading.sample.problem if reading.sample else reading.broker_problem, lasts),
        Source("machines", max(known) if known and not reading.silent else min(known, default=None), silent, STALE["machines"]),
        Source("records", reading.records_age, reading.records_problem, STALE["records"]),
    )


def _workers(reading: Reading, load: Load, broker: BrokerReport) -> tuple[WorkerRow, ...]:
    sample = reading.sample
    signs = dict(sample.alive) if sample and broker.is_there else {}
    normal = usual(signs.values())
    limits = {(place.host, place.role): place.worker.time_limit for place in reading.plan.placed}
    return tuple(
        WorkerRow(
            worker,
            slots_of(
                worker, signs.get(worker.node), sample.at if sample else 0.0, normal, limits.get((worker.host, worker.role))
            ),
            limits.get((worker.host, worker.role)),
        )
        for worker in load.workers
    )


def _machines(reading: Reading, load: Load) -> tuple[MachineRow, ...]:
    rows = []
    for host in reading.plan.fleet.hosts.values():
        if not host.workers:
            continue
        own = [worker for worker in load.workers if worker.host == host.name]
        rows.append(
            MachineRow(
                host=host.name,
                roles=tuple(host.workers),
                machine=reading.machines.get(host.name),
                age=reading.ages.get(host.name),
                why=reading.silent.get(host.name, ""),
                memory=sum(worker.memory or 0 for worker in own),
                memory_max=sum(worker.memory_max or 0 for worker in own),
            )
        )
    return tuple(rows)


def _roles(load: Load) -> tuple[RoleRow, ...]:
    rows = []
    for role in load.roles:
        own = [worker for worker in load.workers if worker.role == role.role]
        releases = Counter(worker.release for worker in own if worker.release)
        moving = tuple(f"{worker.node} {worker.state}" for worker in own if worker.state in ("draining", "starting"))
        rows.append(RoleRow(role.role, role.workers, role.well, releases, moving))
    return tuple(rows)
