"""Machine facts and settings → every number of every worker on a machine: a pure function, and the table that it uses.

Memory sets the limits. In each instance, `children × memory of a child + the parent ≤ memory_max`; on each machine, all instances
and the reserve fit into the memory. If something does not fit, an `auto` value is lowered and the result says so. A number that
the user wrote is never lowered: the result has a problem instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fleet.plan.facts import MachineFacts
from fleet.spec.broker import BROKER_SHARE
from fleet.spec.pools import PER_CORE
from fleet.spec.settings import SYSTEM_LEAST, SYSTEM_SHARE
from fleet.spec.sizes import resolve
from fleet.spec.values import cores_of_quota, factor_per_core
from fleet.spec.worker import Worker

MB = 1 << 20
GREEN_SLOTS = 100
"""Automatic concurrency of gevent, eventlet and threads."""

IO_CHILDREN_A_CORE = 4
"""Automatic concurrency of prefork with workload io, for each core. Children that wait leave the core to others; the usual advice
is 2 to 4 a core."""

PARENT = {"prefork": 38 * MB, "gevent": 50 * MB, "eventlet": 63 * MB, "threads": 47 * MB, "solo": 46 * MB}
"""Pool → bytes (PSS) of a worker without its slots, for an app that imports Celery alone. benchmarks/footprint.py measures
workers with 1 and 16 children, or 10 and 100 slots, and subtracts the slots."""

SLOT = {"prefork": 26 * MB, "gevent": MB // 2, "eventlet": MB * 6 // 10, "threads": MB // 2, "solo": 0}
"""Pool → bytes (PSS) that one slot adds, for tasks that hold next to nothing. Measured: 25 MB in prefork, 0.1 MB in the other
pools. A task that uses the network holds buffers, hence half a MB."""

SPAWNED_SLOT = 40 * MB
"""Bytes of a spawned child, which shares nothing with its parent. Measured: 36 MB."""

CHILD_RSS = 70 * MB
"""RSS of a prefork child before its first task. Measured: 46 MB with Celery alone, 65 MB with requests and SQLAlchemy.
--max-memory-per-child counts RSS, so pages shared with the parent count too."""

RECYCLE_SHARE = 0.8
"""Share of memory_max that an automatic max_memory_per_child divides among the children: a leaking child is recycled before the
kernel kills it."""


@dataclass(frozen=True)
class SizedWorker:
    """A worker role on one machine, with every flag resolved to a number. Memory is in bytes.

    instances: 0 for a GPU role on a machine without devices. memory_max: of one instance; 0 if no memory is left. expected:
    memory that one instance should need. lowered: the `auto` values that were lowered, in words. problem: why the worker does not
    fit into the memory.
    """

    worker: Worker
    instances: int
    concurrency: int
    memory_max: int
    memory_high: int | None
    max_memory_per_child: int | None
    expected: int
    lowered: str | None = None
    problem: str | None = None

    @property
    def slots(self) -> int:
        """Tasks that run at once on this machine."""
        return self.instances * self.concurrency


def slot_memory(worker: Worker) -> int:
    """Bytes of one slot: `memory_per_slot`, or the measured table."""
    if worker.memory_per_slot is not None:
        return worker.memory_per_slot
    return SPAWNED_SLOT if worker.start_method == "spawn" else SLOT[worker.pool]


def expected(worker: Worker, concurrency: int) -> int:
    """Bytes that one instance should need at this concurrency."""
    return PARENT[worker.pool] + concurrency * slot_memory(worker)


def system_reserve(setting: int | str | None, total: int) -> int:
    """Bytes of a machine's `total` that are reserved for the system. setting: `machine_reserve`."""
    return max(resolve(SYSTEM_SHARE, total), SYSTEM_LEAST) if setting is None else resolve(setting, total)


def broker_memory_max(setting: int | str | None, reserve: int, total: int) -> int:
    """MemoryMax of Redis on a machine with `total` bytes, of which the system has `reserve`. setting: `broker.memory_max`."""
    return max(0, min(resolve(BROKER_SHARE, total), total - reserve)) if setting is None else resolve(setting, total)


def size(workers: Mapping[str, Worker], machine: MachineFacts, reserve: int) -> dict[str, SizedWorker]:
    """Size every worker of a machine. Returns role → SizedWorker. reserve: bytes for the system, and for a broker on this
    machine."""
    available = max(0, machine.memory - reserve)
    sized = _fewer_instances({role: _before_memory(worker, machine) for role, worker in workers.items()}, available)
    shares = _shares(sized, available)
    return {role: _in_memory(worker, shares.get(role, 0)) for role, worker in sized.items()}


def _shares(workers: Mapping[str, SizedWorker], available: int) -> dict[str, int]:
    """Role → bytes of one instance, for the roles without a memory_max of their own: all that is available, shared by need.

    If it is too little, roles whose concurrency the user fixed get their need first.
    """
    left = max(0, available - sum(sized.instances * (sized.worker.memory_max or 0) for sized in workers.values()))
    sharing = {role: sized for role, sized in workers.items() if not sized.worker.memory_max}
    shares: dict[str, int] = {}
    if sum(sized.instances * _need(sized) for sized in sharing.values()) > left:
        for role in [role for role, sized in sharing.items() if isinstance(sized.worker.concurrency, int)]:
            fixed = sharing.pop(role)
            shares[role] = min(_need(fixed), left // max(1, fixed.instances))
            left -= fixed.instances * shares[role]
    needed = sum(sized.instances * _need(sized) for sized in sharing.values())
    return shares | {role: left * _need(sized) // needed if needed else 0 for role, sized in sharing.items()}


def _need(sized: SizedWorker) -> int:
    """The least memory_max that suffices for one instance: its expected memory, and the memory that recycling has to allow."""
    if sized.worker.pool != "prefork":
        return sized.expected
    if sized.worker.max_memory_per_child is not None:
        return max(sized.expected, sized.concurrency * sized.worker.max_memory_per_child + PARENT["prefork"])
    return max(sized.expected, math.ceil(sized.concurrency * least_child(sized.worker) / RECYCLE_SHARE) + MB)


def _before_memory(worker: Worker, machine: MachineFacts) -> SizedWorker:
    """Instances and concurrency by cores and devices alone."""
    instances = _instances(worker, machine)
    concurrency = _concurrency(worker, machine.cores, instances)
    return SizedWorker(worker, instances, concurrency, 0, 0, None, expected(worker, concurrency))


def _instances(worker: Worker, machine: MachineFacts) -> int:
    if isinstance(worker.instances, int):
        return worker.instances
    if worker.workload == "gpu":
        return machine.gpus
    return machine.cores if worker.pool in PER_CORE else 1


def _concurrency(worker: Worker, machine_cores: int, instances: int) -> int:
    cores = min(machine_cores, cores_of_quota(worker.cpu_quota)) if worker.cpu_quota else machine_cores
    if worker.pool == "solo":
        return 1
    if isinstance(worker.concurrency, int):
        return worker.concurrency
    if worker.concurrency != "auto":
        return max(1, int(factor_per_core(worker.concurrency) * cores))
    if worker.workload == "gpu":
        return 1
    if worker.pool != "prefork":
        return GREEN_SLOTS
    # Several prefork instances share the cores; a quota belongs to each instance.
    children = cores * (IO_CHILDREN_A_CORE if worker.workload == "io" else 1)
    return children if worker.cpu_quota else max(1, children // max(1, instances))


def _fewer_instances(workers: dict[str, SizedWorker], available: int) -> dict[str, SizedWorker]:
    """If not all instances fit, lower automatic numbers of instances first: every instance costs a parent process."""
    needed = sum(sized.instances * (sized.worker.memory_max or sized.expected) for sized in workers.values())
    if needed <= available:
        return workers
    return {role: _lower_instances(sized, available, needed) for role, sized in workers.items()}


def _lower_instances(sized: SizedWorker, available: int, needed: int) -> SizedWorker:
    """Scale an automatic number of instances by available / needed (bytes of all the machine's workers). At least 1 stays."""
    fewer = max(1, sized.instances * available // needed)
    if sized.worker.instances != "auto" or sized.worker.workload == "gpu" or fewer >= sized.instances:
        return sized
    each = mib(sized.worker.memory_max or sized.expected)
    why = f"instances {sized.instances} → {fewer}: {sized.instances} × {each} is more than the machine's {mib(available)}"
    return replace(sized, instances=fewer, lowered=why)


def _in_memory(sized: SizedWorker, share: int) -> SizedWorker:
    """Fit a worker into its memory_max, or into `share` bytes an instance if it has no memory_max of its own."""
    worker = sized.worker
    limit = worker.memory_max or share // MB * MB
    fits = _slots_that_fit(worker, limit)
    fitted = replace(sized, memory_max=limit, memory_high=worker.memory_high)
    if not sized.instances or sized.concurrency <= fits:
        return _with_recycling(fitted)
    why = _why_too_many(sized, limit)
    if fits == 0 or worker.concurrency != "auto":
        hint = f"write at most {fits}" if fits else "not one task fits: give it more memory"
        return replace(_with_recycling(fitted), problem=f"{why}; {hint}")
    change = f"concurrency {sized.concurrency} → {fits}: {why}"
    lowered = f"{sized.lowered}; {change}" if sized.lowered else change
    return _with_recycling(replace(fitted, concurrency=fits, expected=expected(worker, fits), lowered=lowered))


def _why_too_many(sized: SizedWorker, limit: int) -> str:
    """Why the concurrency does not fit into `limit` bytes, in words."""
    worker = sized.worker
    room = f"memory_max {mib(limit)}" if worker.memory_max else f"the {mib(limit)} that the machine has for it"
    if sized.expected > limit:
        return f"{sized.concurrency} × {mib(slot_memory(worker))} + {mib(PARENT[worker.pool])} is more than {room}"
    if worker.max_memory_per_child is not None:
        child = mib(worker.max_memory_per_child)
        return f"{sized.concurrency} × max_memory_per_child {child} + {mib(PARENT[worker.pool])} is more than {room}"
    # The tasks fit; the memory that --max-memory-per-child has to allow does not.
    return f"{sized.concurrency} × {mib(least_child(worker))} (RSS of a child) is more than {RECYCLE_SHARE} of {room}"


def _slots_that_fit(worker: Worker, limit: int) -> int:
    """The highest concurrency within `limit` bytes, by slot memory and, in prefork, by what --max-memory-per-child has to
    allow."""
    slot = slot_memory(worker)
    room = limit - PARENT[worker.pool]
    slots = room // slot if slot else (1 << 20 if room >= 0 else 0)
    if worker.pool == "prefork" and worker.max_memory_per_child is not None:
        slots = min(slots, room // worker.max_memory_per_child)
    elif worker.pool == "prefork":
        slots = min(slots, int(limit * RECYCLE_SHARE) // least_child(worker))
    return max(0, slots)


def least_child(worker: Worker) -> int:
    """The lowest useful --max-memory-per-child, in bytes: below it a child is recycled after every task."""
    return max(CHILD_RSS, worker.memory_per_slot or 0)


def _with_recycling(sized: SizedWorker) -> SizedWorker:
    if sized.worker.pool != "prefork":
        return sized
    limit = sized.worker.max_memory_per_child or int(sized.memory_max * RECYCLE_SHARE) // sized.concurrency
    return replace(sized, max_memory_per_child=limit)


def mib(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / MB:.0f}M" if size >= 10 * MB else f"{size / MB:.1f}M"
