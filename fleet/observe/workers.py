"""The load of a fleet: every worker that should be there by name, each role, and what to do. Pure; `collect` asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.observe.broker import BrokerReport
from fleet.observe.machine import Machine
from fleet.observe.states import WELL, State, Verdict, Witnesses, judge
from fleet.plan import process
from fleet.plan.instance import Instance
from fleet.plan.plan import Plan
from fleet.spec.text import count, span
from fleet_node.protocol import WorkerSign


@dataclass(frozen=True)
class WorkerLoad:
    """A worker. expected: whether the settings ask for it. slots: tasks that it runs at once. running: task → number.

    prefetched: tasks that it holds and has not begun. eta: that wait for their time. queues: that it consumes now. memory,
    memory_max: bytes. oom_kills: processes of it that the kernel killed for memory since it started. up_s: seconds since it
    started. heard_s: witness → how many seconds ago it spoke of the worker; None if it says nothing of it. lent: what it is lent
    out for, in words; empty if it is not. kubectl: of a pod, as of `Machine`; its host is the pod's name.
    """

    node: str
    host: str
    role: str
    state: State
    why: str
    expected: bool
    slots: int
    running: Mapping[str, int]
    prefetched: int
    eta: int
    queues: tuple[str, ...]
    heard_s: Mapping[str, float | None]
    memory: int | None = None
    memory_max: int | None = None
    oom_kills: int = 0
    restarts: int = 0
    release: str = ""
    up_s: float | None = None
    lent: str = ""
    kubectl: str = ""

    @property
    def active(self) -> int:
        """Tasks that run."""
        return sum(self.running.values())

    @property
    def utilisation(self) -> float:
        """The share of its slots that is busy, from 0 to 100."""
        return round(100 * self.active / self.slots, 1) if self.slots else 0.0

    @property
    def is_well(self) -> bool:
        """Whether nobody has to do anything."""
        return self.state in WELL


@dataclass(frozen=True)
class RoleLoad:
    """A role. waiting: messages in its queues, which other roles may consume too; None if the broker does not say."""

    role: str
    workers: int
    well: int
    slots: int
    active: int
    prefetched: int
    eta: int
    waiting: int | None
    queues: tuple[str, ...]

    @property
    def utilisation(self) -> float:
        """The share of its slots that is busy, from 0 to 100."""
        return round(100 * self.active / self.slots, 1) if self.slots else 0.0


@dataclass(frozen=True)
class Load:
    """The whole fleet. silent: host → why it did not answer over SSH. problem: of the broker; empty if it answered. unknown: what
    brokers of this kind do not know → why."""

    workers: tuple[WorkerLoad, ...]
    roles: tuple[RoleLoad, ...]
    silent: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        """Whether every worker is well, and broker and machines answer."""
        return not (self.problem or self.silent) and all(worker.is_well for worker in self.workers)


def load_of(plan: Plan, machines: Mapping[str, Machine], silent: Mapping[str, str], broker: BrokerReport) -> Load:
    """Put together what machines and the broker said. machines: those that answered, by host. silent: host → why not."""
    workers, named = [], set()
    for instance in plan.instances:
        node = node_of(instance, machines.get(instance.host), broker)
        named.add(node)
        workers.append(_worker(node, instance, machines.get(instance.host), silent.get(instance.host, ""), broker))
    for node, sign in broker.answers.items():
        if node not in named:
            workers.append(_stranger(node, sign, broker))
    roles = _roles(plan, workers, broker.waiting if broker.is_there else None)
    return Load(tuple(workers), tuple(roles), silent, broker.problem, broker.unknown)


def node_of(instance: Instance, machine: Machine | None, broker: BrokerReport) -> str:
    """The node of an instance. If its machine does not say its host name: a name that the broker knows, or the likeliest."""
    if machine and machine.hostname:
        return process.node(instance.role, instance.number, machine.hostname)
    likely = [process.node(instance.role, instance.number, name) for name in (instance.host, instance.host.split(".")[0])]
    present = (node for node, is_there in broker.present.items() if is_there)
    known = {*broker.answers, *broker.signs, *broker.renewed, *present}
    return next((node for node in likely if node in known), likely[0])


def _worker(node: str, instance: Instance, machine: Machine | None, silence: str, broker: BrokerReport) -> WorkerLoad:
    unit = machine.units.get(instance.unit) if machine else None
    sign, age = broker.signs.get(node, (None, None))
    witnesses = Witnesses(
        answer=broker.answers.get(node),
        machine=machine,
        silence=silence,
        unit=unit,
        sign=sign,
        sign_age=age,
        renewed=broker.renewed.get(node),
        connected=broker.connected.get(node),
        present=broker.present.get(node),
        broker=broker.is_there,
    )
    verdict = judge(witnesses)
    latest = witnesses.answer or (sign if verdict.state != "dead" else None)
    running = dict(latest["running"]) if latest else {}
    if latest is None and unit and unit.busy and verdict.state == "busy":
        running = {"": unit.busy}  # its status has no names of tasks
    return WorkerLoad(
        node=node,
        host=instance.host,
        role=instance.role,
        **_common(verdict, latest, witnesses),
        expected=True,
        slots=latest["slots"] if latest else instance.sized.concurrency,
        running=running,
        memory=unit.memory if unit else None,
        memory_max=unit.memory_max if unit else None,
        oom_kills=(unit.oom_kills or 0) if unit else 0,
        restarts=unit.restarts if unit else 0,
        release=(unit.release if unit else None) or (latest["release"] if latest else ""),
        up_s=unit.up if unit else None,
        kubectl=machine.kubectl if machine else "",
    )


def _stranger(node: str, sign: WorkerSign, broker: BrokerReport) -> WorkerLoad:
    """A worker that answers, and that the settings do not ask for: a second instance of a step, or of a host that has left."""
    parts = process.parse_node(node)
    witnesses = Witnesses(answer=sign, connected=broker.connected.get(node))
    return WorkerLoad(
        node=node,
        host=parts.hostname if parts else "",
        role=parts.role if parts else "",
        **_common(judge(witnesses), sign, witnesses),
        expected=False,
        slots=sign["slots"],
        running=dict(sign["running"]),
        release=sign["release"],
    )


def _common(verdict: Verdict, latest: WorkerSign | None, witnesses: Witnesses) -> dict[str, Any]:
    return {
        "state": verdict.state,
        "why": verdict.why,
        "prefetched": latest["reserved"] if latest else 0,
        "eta": latest["eta"] if latest else 0,
        "queues": tuple(latest["queues"]) if latest else (),
        "heard_s": witnesses.heard,
        "lent": _lent(latest) if latest else "",
    }


def _lent(sign: WorkerSign) -> str:
    if not (lent := sign.get("lent")):
        return ""
    what = [*lent["queues"], *([f"{count(lent['slots'], 'slot')} more"] if lent["slots"] else [])]
    return f"lent out: {', '.join(what)}, for {span(max(0.0, lent['until'] - sign['at']))}"


def _roles(plan: Plan, workers: Iterable[WorkerLoad], waiting: Mapping[str, int] | None) -> Iterable[RoleLoad]:
    for role, placements in plan.roles.items():
        own = [worker for worker in workers if worker.role == role]
        queues = tuple(dict.fromkeys(queue for placement in placements for queue in placement.worker.queues))
        yield RoleLoad(
            role=role,
            workers=sum(worker.expected for worker in own),
            well=sum(worker.expected and worker.is_well for worker in own),
            slots=sum(worker.slots for worker in own if worker.is_well),
            active=sum(worker.active for worker in own if worker.is_well),
            prefetched=sum(worker.prefetched for worker in own),
            eta=sum(worker.eta for worker in own),
            waiting=None if waiting is None else sum(waiting.get(queue, 0) for queue in queues),
            queues=queues,
        )
