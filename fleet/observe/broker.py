"""What the broker, and the workers through it, say of the fleet. Only read, but for a question to all workers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fleet.broker.beat import BeatView
from fleet.broker.keys import node_of
from fleet.broker.port import AwayError, Port
from fleet.broker.workers import try_workers
from fleet.errors import FleetError
from fleet.plan import process
from fleet.plan.instance import Instance
from fleet.plan.plan import Plan
from fleet.spec.fleet import Fleet
from fleet_node.protocol import WorkerSign


@dataclass(frozen=True)
class BrokerReport:
    """What was learnt. Times are ages in seconds.

    answers: node → its sign, of those that answered. signs: node → (its last sign in Redis, its age). renewed: node → when its
    lease was last renewed; None if it has none. connected: node → when its connection last said something. present: node →
    whether it has a connection, of those of which the broker knows. waiting: queue → messages, of all priorities. problem: why
    the broker was not asked, or not for everything, or what is wrong with it; empty if nothing is. is_there: whether it answers.
    beat: what beat processes say of themselves; None if they were not asked. unknown: what such brokers do not know → why.
    """

    answers: Mapping[str, WorkerSign] = field(default_factory=dict)
    signs: Mapping[str, tuple[WorkerSign, float]] = field(default_factory=dict)
    renewed: Mapping[str, float | None] = field(default_factory=dict)
    connected: Mapping[str, float] = field(default_factory=dict)
    present: Mapping[str, bool] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    is_there: bool = True
    beat: BeatView | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Expected:
    """What RabbitMQ is asked for by name; Redis knows the names. queues: of the fleet. nodes: of workers that should be there, as
    their machines may call themselves."""

    queues: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


def expected_of(plan: Plan, hostnames: Mapping[str, str] | None = None) -> Expected:
    """What the broker of a fleet is asked for. hostnames: host → what its machine calls itself, as far as that is known."""
    if plan.fleet.transport == "redis":
        return Expected()
    nodes = (node for instance in plan.instances for node in names_of(instance, (hostnames or {}).get(instance.host)))
    return Expected(tuple(plan.consumers), tuple(dict.fromkeys(nodes)))


def names_of(instance: Instance, hostname: str | None = None) -> tuple[str, ...]:
    """What a worker may be called among Celery's. hostname: what its machine calls itself, if that is known."""
    host = instance.host
    names = (hostname,) if hostname else dict.fromkeys((host, host.split(".", maxsplit=1)[0]))
    return tuple(process.node(instance.role, instance.number, name) for name in names)


def ask(port: Port, lease: float | None, expected: Expected) -> BrokerReport:
    """Ask all. lease: in seconds. Raises what `fleet.broker.port.opened` turns into AwayError."""
    moment = port.moment(lease, expected.queues)
    beats = port.beat()
    nodes = {*moment.signs, *moment.renewed} or expected.nodes
    answers, unasked = try_workers(port, nodes)
    health = port.health()
    return BrokerReport(
        answers=answers,
        signs=moment.signs,
        renewed=moment.renewed,
        connected=health.connected,
        present=port.present({*expected.nodes, *answers}),
        waiting={queue: sum(age.waiting.values()) for queue, age in moment.ages.items()},
        problem=health.problem or unasked,
        beat=beats,
        unknown=port.unknown,
    )


def absent(problem: str) -> BrokerReport:
    """Of a broker that does not answer."""
    return BrokerReport(problem=problem, is_there=False)


def away(error: AwayError) -> str:
    """Why it does not answer, for people."""
    return f"the broker does not answer: {error}"


def unreached(fleet: Fleet, error: FleetError) -> str:
    """Why it is not reached, for people. The machine in `error` is the broker's only if the broker is ours."""
    if fleet.own_broker:
        return f"the broker's machine does not answer: {error}"
    return f"the broker is not reached: {error}"


def silent(leases: Collection[str], alive: Collection[str]) -> list[str]:
    """The holders of these leases whose nodes are not alive."""
    return [holder for holder in leases if node_of(holder) not in alive]
