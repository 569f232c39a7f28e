"""What to do about a fleet's load, in words and numbers, the most urgent first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fleet.observe.states import WORDS
from fleet.observe.workers import Load, RoleLoad, WorkerLoad
from fleet.plan import process
from fleet.spec.text import count

FULL, FREE = 90.0, 50.0
"""Percent of a role's slots above which it counts as full, and below which as free."""
NEAR_CAP = 0.9
"""Share of its memory limit above which a worker is named."""
MANY_RESTARTS = 3


class Advice(NamedTuple):
    """One thing to do. evidence: what is so, in words and numbers. step: what to run or to look at; empty if the evidence says
    it. urgent: whether something does not work now."""

    evidence: str
    step: str = ""
    urgent: bool = False

    def __str__(self) -> str:
        return f"{self.evidence}; {self.step}" if self.step else self.evidence


def advise(load: Load, inventory: str) -> list[str]:
    """A line for each thing to do; none if there is nothing. inventory: its path, for commands."""
    return [str(advice) for advice in advices(load, inventory)]


def advices(load: Load, inventory: str) -> list[Advice]:
    """The same in two parts each, the most urgent first."""
    return [
        *([Advice(load.problem, urgent=True)] if load.problem else []),
        *_of_the_ill(load.workers, inventory),
        *_of_strangers(load.workers, inventory),
        *(advice for role in load.roles for advice in _of_role(role, load)),
        *_of_memory(load.workers),
    ]


def _of_the_ill(workers: Iterable[WorkerLoad], inventory: str) -> Iterator[Advice]:
    for worker in workers:
        if worker.is_well:
            continue
        why = worker.why or WORDS[worker.state]
        yield Advice(f"{worker.node} is {worker.state}: {why}", _next_step(worker, inventory), urgent=True)


def _next_step(worker: WorkerLoad, inventory: str) -> str:
    if worker.kubectl:
        return f"{worker.kubectl} delete pod {worker.host}" if worker.state == "ghost" else look_at(worker)
    if worker.state == "ghost":
        return f"pyinfra {inventory} restart.py --limit {worker.host}"
    if worker.state == "cut off":
        return f"look at the network between {worker.host} and the broker"
    if worker.state == "out":
        return "docs/gpu.md says what to do; it comes back by itself with its device"
    if worker.state == "stopped":
        return f"on {worker.host}: systemctl kill -s CONT {unit_of(worker.node)}"
    if "does not answer" in worker.why and worker.state in ("dead", "unknown") and "machine" in worker.why:
        return f"start the machine, or: fleet retire {inventory} {worker.host} --gone"
    return look_at(worker)


def look_at(worker: WorkerLoad) -> str:
    """What says why a worker is as it is."""
    if worker.kubectl:
        return f"{worker.kubectl} describe pod {worker.host}"
    return f"on {worker.host}: journalctl -u {unit_of(worker.node)} -n 50"


def more_slots(role: str) -> str:
    """What to do for a role that has too few."""
    return f"raise concurrency or instances of {role}_worker, or add a machine"


def tasks_wait(number: int) -> str:
    """How many, as the start of a clause."""
    return count(number, "task waits", "tasks wait")


def unit_of(node: str) -> str:
    """The systemd unit of a worker."""
    parts = process.parse_node(node)
    return f"celery-{parts.role}@{parts.instance}.service" if parts else "celery-*"


def _of_strangers(workers: Iterable[WorkerLoad], inventory: str) -> Iterator[Advice]:
    for worker in workers:
        parts = process.parse_node(worker.node)
        if not worker.expected and not (parts and parts.instance.endswith(("-surge", "-extra"))):
            yield Advice(
                f"{worker.node} consumes {', '.join(worker.queues)}, and no setting asks for it", f"fleet retire {inventory} HOST"
            )


def _of_role(role: RoleLoad, load: Load) -> Iterator[Advice]:
    free = role.slots - role.active
    own = [worker for worker in load.workers if worker.role == role.role and worker.is_well]
    if role.workers and not role.well:
        waiting = f", and {tasks_wait(role.waiting)} in {', '.join(role.queues)}" if role.waiting else ""
        yield Advice(f"{role.role}: no worker is well{waiting}", urgent=True)
    elif role.slots and role.utilisation >= FULL and role.waiting:
        idle = [other for other in load.roles if other.slots and other.utilisation < FREE and not other.waiting]
        spare = "; ".join(f"{other.role} has {other.slots - other.active} of {other.slots} slots free" for other in idle)
        yield Advice(
            f"{role.role}: {role.active} of {role.slots} slots are busy and {tasks_wait(role.waiting)}",
            more_slots(role.role) + (f"; {spare}" if spare else ""),
        )
    elif role.waiting and free > role.prefetched and role.waiting > free and role.utilisation < FREE:
        yield Advice(
            f"{role.role}: {tasks_wait(role.waiting)} in {', '.join(role.queues)} although {free} of {role.slots} slots are free",
            "ask again, and if it stays so, look at what its workers log",
        )
    held = [worker for worker in own if worker.prefetched and worker.active >= worker.slots]
    if held and free:
        number = sum(worker.prefetched for worker in held)
        full = count(len(held), "full worker holds", "full workers hold")
        yield Advice(
            f"{role.role}: {full} {count(number, 'fetched task')}, while {count(free, 'slot is', 'slots are')} free",
            f'set "prefetch" of {role.role}_worker to 1, or to "disabled"',
        )


def _of_memory(workers: Iterable[WorkerLoad]) -> Iterator[Advice]:
    for worker in workers:
        if worker.oom_kills:
            killed = count(worker.oom_kills, "process was", "processes were")
            yield Advice(
                f"{worker.node}: {killed} killed for memory since it started",
                f"on {worker.host}: journalctl -k -g oom; give its role more, or lower its concurrency",
            )
        if worker.memory and worker.memory_max and worker.memory > NEAR_CAP * worker.memory_max:
            share = 100 * worker.memory / worker.memory_max
            yield Advice(
                f"{worker.node} has {share:.0f} % of the memory that it may have", "give its role more, or lower its concurrency"
            )
        if worker.is_well and worker.restarts >= MANY_RESTARTS:
            times = f"{worker.restarts} times"
            yield Advice(f"{worker.node} was started again {times}", look_at(worker))
