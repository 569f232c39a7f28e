"""Fleet + machine facts → the whole fleet resolved, every flag of every worker a number: what `fleet.lint` looks at."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from fleet.plan.facts import MachineFacts
from fleet.plan.instance import Instance
from fleet.plan.sizing import SizedWorker, broker_memory_max, size, system_reserve
from fleet.spec.fleet import Fleet, Host
from fleet.spec.pools import GREEN
from fleet.spec.reliability import RABBITMQ_RELIABILITY, RABBITMQ_TRANSPORT, RELIABILITY, TRANSPORT
from fleet.spec.worker import Worker
from fleet_node.protocol import CelerySettings

VISIBILITY_MARGIN = 60
"""Seconds that an automatic visibility timeout is above the longest that a worker may hold a task."""

REDIS_DEFAULT = 3600
"""kombu's own visibility timeout on Redis, in seconds."""

RABBITMQ_DEFAULT = 1800
"""RabbitMQ's own consumer_timeout, in seconds."""

CHANNEL_CONNECTIONS = 10
"""kombu's own limit of connections a channel. More tasks than that ending in one moment fail to be acknowledged."""


@dataclass(frozen=True)
class Placement:
    """A role on one host, sized."""

    host: str
    role: str
    sized: SizedWorker

    @property
    def path(self) -> str:
        """Where its settings are, as messages name it."""
        return f"{self.role}_worker"

    @property
    def worker(self) -> Worker:
        """The settings of the role on this host."""
        return self.sized.worker


@dataclass(frozen=True)
class Plan:
    """The fleet, resolved. machines: host → facts, of the hosts that have any. workers: host → role → sized."""

    fleet: Fleet
    machines: Mapping[str, MachineFacts]
    workers: Mapping[str, Mapping[str, SizedWorker]]
    assumed: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def placed(self) -> tuple[Placement, ...]:
        """Every role on every host, in the inventory's order."""
        return tuple(Placement(host, role, sized) for host, roles in self.workers.items() for role, sized in roles.items())

    @cached_property
    def roles(self) -> dict[str, tuple[Placement, ...]]:
        """Role → its placements."""
        placements: dict[str, list[Placement]] = {}
        for placement in self.placed:
            placements.setdefault(placement.role, []).append(placement)
        return {role: tuple(places) for role, places in placements.items()}

    @cached_property
    def consumers(self) -> dict[str, int]:
        """Queue → how many worker instances consume it, in the whole fleet. A machine without facts counts for at least one."""
        consumers: dict[str, int] = {}
        for host in self.fleet.hosts.values():
            for role, worker in host.workers.items():
                known = self.workers.get(host.name, {}).get(role)
                unknown = worker.instances if isinstance(worker.instances, int) else 1
                for queue in dict.fromkeys(worker.queues):
                    consumers[queue] = consumers.get(queue, 0) + (known.instances if known else unknown)
        return consumers

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """Every worker process, in the inventory's order."""
        return tuple(
            Instance(placement.host, placement.role, number, placement.sized)
            for placement in self.placed
            for number in range(1, placement.sized.instances + 1)
        )

    def instances_on(self, hosts: Container[str]) -> tuple[Instance, ...]:
        """Every worker process that `hosts` should have, in the inventory's order."""
        return tuple(instance for instance in self.instances if instance.host in hosts)

    def min_consumers(self, queue: str) -> int:
        """Consumers that a queue keeps while workers restart: the most that any of its instances asks for."""
        return max((worker.min_consumers for worker in self._workers if queue in worker.queues), default=0)

    @cached_property
    def _workers(self) -> tuple[Worker, ...]:
        """The settings of every role on every host that is sized, each once."""
        return tuple({id(placement.worker): placement.worker for placement in self.placed}.values())

    def reserve(self, host: str) -> int:
        """Bytes of a machine that are not its workers'."""
        return reserve_of(self.fleet, self.fleet.hosts[host], self.machines[host])

    @cached_property
    def longest_unacknowledged(self) -> int:
        """Seconds that some worker may hold a message. What is held is in one list for the whole fleet, and so is the limit."""
        workers = [worker for host in self.fleet.hosts.values() for worker in host.workers.values()]
        return max((worker.longest_unacknowledged for worker in workers), default=0)

    @property
    def lease(self) -> int | None:
        """Seconds after which the tasks of a worker without a sign of life go to others; None if there is no lease. RabbitMQ
        gives them back itself, when the worker's connection is gone."""
        return self.fleet.settings.lease if self.fleet.transport == "redis" else None

    @property
    def visibility_timeout(self) -> int | None:
        """Seconds; None if the app sets it, and with RabbitMQ, which has none. With a lease, it is for consumers that have none:
        a laptop's, or workers of an earlier release. Then it is not below kombu's own, so that none of them takes tasks that
        another one still runs."""
        given = self.fleet.settings.visibility_timeout
        if given == "app" or self.fleet.transport != "redis":
            return None
        if given != "auto":
            return int(given)
        automatic = self.longest_unacknowledged + VISIBILITY_MARGIN
        return automatic if self.lease is None else max(REDIS_DEFAULT, automatic)

    @property
    def consumer_timeout(self) -> int:
        """Seconds after which our own RabbitMQ takes back what a worker has not acknowledged."""
        given = self.fleet.rabbitmq.consumer_timeout if self.fleet.rabbitmq else None
        return given or max(RABBITMQ_DEFAULT, self.longest_unacknowledged + VISIBILITY_MARGIN)

    def celery_settings(self, sized: SizedWorker | None) -> CelerySettings:
        """What a worker's Celery is set to besides its flags, by `fleet_node.worker.settings`. sized: None for beat."""
        left = self.fleet.settings.left_to_app
        is_redis = self.fleet.transport == "redis"
        transport, reliability = (
            (TRANSPORT, RELIABILITY) if is_redis else (RABBITMQ_TRANSPORT, RELIABILITY | RABBITMQ_RELIABILITY)
        )
        broker: dict[str, object] = {name: value for name, value in transport.items() if name not in left}
        results: dict[str, object] = {}
        if self.visibility_timeout is not None:
            broker["visibility_timeout"] = results["visibility_timeout"] = self.visibility_timeout
        if self.fleet.master_name:
            broker["master_name"] = results["master_name"] = self.fleet.master_name
        if is_redis and sized and sized.worker.pool in (*GREEN, "threads"):
            broker["max_connections"] = sized.concurrency + CHANNEL_CONNECTIONS
        return {
            "broker_transport_options": broker,
            "result_backend_transport_options": results,
            "settings": {name: value for name, value in reliability.items() if name not in left},
            "at_most_once": self.fleet.settings.at_most_once,
            "lease": self.lease,
        }


def reserve_of(fleet: Fleet, host: Host, machine: MachineFacts) -> int:
    """Bytes of a machine that are not its workers': the system's, the broker's on its host, and beat's on its hosts."""
    system = system_reserve(host.settings.machine_reserve, machine.memory)
    if host.name in fleet.beat_hosts and host.workers:
        system += fleet.beat.memory_max
    if host.name not in fleet.broker_hosts or not host.workers:
        return system
    return system + broker_memory(fleet, host, machine.memory)


def broker_memory(fleet: Fleet, host: Host, total: int) -> int:
    """MemoryMax of our own broker on one of its hosts, in bytes. total: the machine's."""
    assert fleet.own_broker  # noqa: S101 - the host is its
    reserve = system_reserve(host.settings.machine_reserve, total)
    return broker_memory_max(fleet.own_broker.memory_max, reserve, total)


def resolved(fleet: Fleet, machines: Mapping[str, MachineFacts]) -> Plan:
    """Size every host. A host without facts is taken for a machine like the last known one with the same roles, and is then in
    `assumed`; if there is no such machine, the host is left out."""
    like = {tuple(fleet.hosts[name].workers): machine for name, machine in machines.items() if name in fleet.hosts}
    known: dict[str, MachineFacts] = {}
    workers: dict[str, Mapping[str, SizedWorker]] = {}
    done: dict[tuple[object, ...], Mapping[str, SizedWorker]] = {}
    for host in fleet.hosts.values():
        machine = machines.get(host.name) or like.get(tuple(host.workers))
        if machine is None:
            continue
        if host.settings.gpus is not None:
            machine = replace(machine, gpus=host.settings.gpus)
        known[host.name] = machine
        reserve = reserve_of(fleet, host, machine)
        # Most machines of a large fleet are alike.
        key = (machine, reserve, *((role, id(worker)) for role, worker in host.workers.items()))
        if key not in done:
            done[key] = size(host.workers, machine, reserve)
        workers[host.name] = done[key]
    return Plan(fleet, known, workers, frozenset(known) - frozenset(machines))
