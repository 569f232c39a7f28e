"""Machine facts and settings → every number of every worker on a machine. A pure function, and the table that it works from.

Memory is the frame: `children × what one takes + the parent ≤ memory_max`, and all of a machine's workers and its reserve
within its memory. Where that does not hold, `auto` gives way and says so; a number of the user's does not, and is a problem.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fleet.plan.facts import MachineFacts
from fleet.spec.broker import BROKER_SHARE
from fleet.spec.fields import PER_CORE, cores_of, per_core
from fleet.spec.settings import SYSTEM_LEAST, SYSTEM_SHARE
from fleet.spec.sizes import resolve
from fleet.spec.worker import Worker

MB = 1 << 20
GREEN_SLOTS = 100
IO_CHILDREN_A_CORE = 4
"""Children that wait leave the core to others: the field's advice is 2 to 4 a core."""

PARENT = {"prefork": 38 * MB, "gevent": 50 * MB, "eventlet": 63 * MB, "threads": 47 * MB, "solo": 46 * MB}
"""A worker before its slots, PSS of an app that imports Celery alone (benchmarks/footprint.py: what 1 and 16 children, or 10 and
100 slots, leave when the slots are taken off)."""

SLOT = {"prefork": 26 * MB, "gevent": MB // 2, "eventlet": MB * 6 // 10, "threads": MB // 2, "solo": 0}
"""What a slot adds, PSS, for tasks that hold next to nothing. Measured are 25 MB in prefork and 0.1 MB elsewhere; a task that
talks to something holds buffers, hence half a MB."""

SPAWNED_SLOT = 40 * MB
"""A spawned child shares nothing with its parent: 36 MB, measured."""

CHILD_RSS = 70 * MB
"""RSS of a prefork child that has done nothing yet: 46 MB with Celery alone, 65 MB with requests and SQLAlchemy. It is what
--max-memory-per-child counts, pages shared with the parent too."""

RECYCLE_SHARE = 0.8


@dataclass(frozen=True)
class SizedWorker:
    """A worker role on one machine, every flag a number. Memory in bytes; memory_max 0 where there is none to give.

    expected: what one instance should need. lowered: what `auto` had to give up. problem: why it does not fit in the memory.
    instances is 0 for a GPU role on a machine without devices.
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
        """Tasks at once on this machine."""
        return self.instances * self.concurrency


def slot_memory(worker: Worker) -> int:
    """Bytes that one task at once takes."""
    if worker.memory_per_slot is not None:
        return worker.memory_per_slot
    return SPAWNED_SLOT if worker.start_method == "spawn" else SLOT[worker.pool]


def expected(worker: Worker, concurrency: int) -> int:
    """Bytes that one instance should need with so many tasks at once."""
    return PARENT[worker.pool] + concurrency * slot_memory(worker)


def system_reserve(setting: int | str | None, total: int) -> int:
    """Bytes of a machine's `total` that its workers leave to the system. setting: `machine_reserve`."""
    return max(resolve(SYSTEM_SHARE, total), SYSTEM_LEAST) if setting is None else resolve(setting, total)


def broker_memory_max(setting: int | str | None, reserve: int, total: int) -> int:
    """MemoryMax of Redis on a machine with `total` bytes, of which `reserve` are the system's. setting: `broker.memory_max`."""
    return max(0, min(resolve(BROKER_SHARE, total), total - reserve)) if setting is None else resolve(setting, total)


def size(workers: Mapping[str, Worker], machine: MachineFacts, reserve: int) -> dict[str, SizedWorker]:
    """Every worker of a machine, by role. reserve: bytes that are not the workers' (the system's, a broker's)."""
    available = max(0, machine.memory - reserve)
    wanted = _fewer_instances({role: _before_memory(worker, machine) for role, worker in workers.items()}, available)
    shares = _shares(wanted, available)
    return {role: _in_memory(one, shares.get(role, 0)) for role, one in wanted.items()}


def _shares(wanted: Mapping[str, SizedWorker], available: int) -> dict[str, int]:
    """Bytes for one instance of each role without a memory_max of its own: all there is, by need. Where that is too little, what
    the user fixed has its need first."""
    left = max(0, available - sum(one.instances * (one.worker.memory_max or 0) for one in wanted.values()))
    sharing = {role: one for role, one in wanted.items() if not one.worker.memory_max}
    shares: dict[str, int] = {}
    if sum(one.instances * _need(one) for one in sharing.values()) > left:
        for role in [role for role, one in sharing.items() if isinstance(one.worker.concurrency, int)]:
            one = sharing.pop(role)
            shares[role] = min(_need(one), left // max(1, one.instances))
            left -= one.instances * shares[role]
    needed = sum(one.instances * _need(one) for one in sharing.values())
    return shares | {role: left * _need(one) // needed if needed else 0 for role, one in sharing.items()}


def _need(one: SizedWorker) -> int:
    """The least memory_max that one instance does with: what it is expected to take, and what recycling has to allow."""
    if one.worker.pool != "prefork":
        return one.expected
    if one.worker.max_memory_per_child is not None:
        return max(one.expected, one.concurrency * one.worker.max_memory_per_child + PARENT["prefork"])
    return max(one.expected, math.ceil(one.concurrency * least_child(one.worker) / RECYCLE_SHARE) + MB)


def _before_memory(worker: Worker, machine: MachineFacts) -> SizedWorker:
    cores = min(machine.cores, cores_of(worker.cpu_quota)) if worker.cpu_quota else machine.cores
    if isinstance(worker.instances, int):
        instances = worker.instances
    elif worker.workload == "gpu":
        instances = machine.gpus
    else:
        instances = machine.cores if worker.pool in PER_CORE else 1
    if worker.pool == "solo":
        concurrency = 1
    elif isinstance(worker.concurrency, int):
        concurrency = worker.concurrency
    elif worker.concurrency != "auto":
        concurrency = max(1, int(per_core(worker.concurrency) * cores))
    elif worker.workload == "gpu":
        concurrency = 1
    elif worker.pool != "prefork":
        concurrency = GREEN_SLOTS
    else:
        # Several prefork instances share the cores; a quota is each instance's own.
        children = cores * (IO_CHILDREN_A_CORE if worker.workload == "io" else 1)
        concurrency = children if worker.cpu_quota else max(1, children // max(1, instances))
    return SizedWorker(worker, instances, concurrency, 0, 0, None, expected(worker, concurrency))


def _fewer_instances(wanted: dict[str, SizedWorker], available: int) -> dict[str, SizedWorker]:
    """Where not all instances find room, an automatic number of them gives way first: each costs a process that does no work."""
    needed = sum(one.instances * (one.worker.memory_max or one.expected) for one in wanted.values())
    if needed <= available:
        return wanted
    found = {}
    for role, one in wanted.items():
        fewer = max(1, one.instances * available // needed)
        if one.worker.instances == "auto" and one.worker.workload != "gpu" and fewer < one.instances:
            each = mib(one.worker.memory_max or one.expected)
            why = f"instances {one.instances} → {fewer}: {one.instances} × {each} is more than the machine's {mib(available)}"
            one = replace(one, instances=fewer, lowered=why)  # noqa: PLW2901
        found[role] = one
    return found


def _in_memory(one: SizedWorker, share: int) -> SizedWorker:
    """`one`, fitted into its memory_max, or into `share` bytes an instance where it has none of its own."""
    worker = one.worker
    limit = worker.memory_max or share // MB * MB
    fits = _slots_that_fit(worker, limit)
    fitted = replace(one, memory_max=limit, memory_high=worker.memory_high)
    if one.instances and one.concurrency > fits:
        room = f"memory_max {mib(limit)}" if worker.memory_max else f"the {mib(limit)} that the machine has for it"
        if one.expected > limit:
            why = f"{one.concurrency} × {mib(slot_memory(worker))} + {mib(PARENT[worker.pool])} is more than {room}"
        elif worker.max_memory_per_child is not None:
            child = mib(worker.max_memory_per_child)
            why = f"{one.concurrency} × max_memory_per_child {child} + {mib(PARENT[worker.pool])} is more than {room}"
        else:  # what does not fit is what --max-memory-per-child has to allow
            why = f"{one.concurrency} × {mib(least_child(worker))} (RSS of a child) is more than {RECYCLE_SHARE} of {room}"
        if fits == 0 or worker.concurrency != "auto":
            hint = f"write at most {fits}" if fits else "not one task fits: give it more memory"
            return replace(_with_recycling(fitted), problem=f"{why}; {hint}")
        said = f"concurrency {one.concurrency} → {fits}: {why}"
        lowered = f"{one.lowered}; {said}" if one.lowered else said
        fitted = replace(fitted, concurrency=fits, expected=expected(worker, fits), lowered=lowered)
    return _with_recycling(fitted)


def _slots_that_fit(worker: Worker, limit: int) -> int:
    """The most tasks at once within `limit` bytes: by what they take, and, in prefork, by what a child must be allowed."""
    slot = slot_memory(worker)
    room = limit - PARENT[worker.pool]
    slots = room // slot if slot else (1 << 20 if room >= 0 else 0)
    if worker.pool == "prefork" and worker.max_memory_per_child is not None:
        slots = min(slots, room // worker.max_memory_per_child)
    elif worker.pool == "prefork":
        slots = min(slots, int(limit * RECYCLE_SHARE) // least_child(worker))
    return max(0, slots)


def least_child(worker: Worker) -> int:
    """The least that --max-memory-per-child may be: below it a child is recycled after every task."""
    return max(CHILD_RSS, worker.memory_per_slot or 0)


def _with_recycling(one: SizedWorker) -> SizedWorker:
    if one.worker.pool != "prefork":
        return one
    own = one.worker.max_memory_per_child
    return replace(one, max_memory_per_child=own or int(one.memory_max * RECYCLE_SHARE) // one.concurrency)


def mib(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / MB:.0f}M" if size >= 10 * MB else f"{size / MB:.1f}M"
