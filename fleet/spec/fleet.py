"""The inventory as pyinfra reads it, and the validated fleet that it describes. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fleet.spec.beat import Beat
from fleet.spec.broker import Broker, External, Own, RabbitMQ, Redis
from fleet.spec.monitor import Monitor
from fleet.spec.secrets import BROKER_ADMIN, BROKER_NAMES, COOKIE, FLOWER
from fleet.spec.settings import Settings
from fleet.spec.urls import AMQP, ENCRYPTED, REFERENCE, netloc
from fleet.spec.worker import Worker

Transport = Literal["redis", "amqp"]
"""What workers speak with the broker: Redis' protocol, also to a Valkey and with sentinels, or RabbitMQ's."""


@dataclass(frozen=True)
class Inventory:
    """An inventory and its group data, as plain values.

    hosts: name → the data merged for that host. groups: name → host names, in the inventory's order; the group of all hosts,
    which has the name of the inventory file, is not among them. group_data: names of the groups that have data of their own.
    mistakes: what is wrong in the inventory file and cannot be seen in these values. places: dotted path of a setting → "FILE,
    line N" of each file that sets it, for messages.
    """

    hosts: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, tuple[str, ...]]
    group_data: frozenset[str]
    mistakes: tuple[str, ...] = ()
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Host:
    """One machine: its settings, and the workers that it runs. workers: role (the group's name) → its settings."""

    name: str
    settings: Settings
    workers: Mapping[str, Worker]


@dataclass(frozen=True)
class Fleet:
    """The whole fleet, validated.

    hosts: by name. broker_host: where our own broker runs, or its first node; None if the broker is not ours. more_broker_hosts:
    of the other nodes. records_host: where the lock and the history are. unused_group_data: names of group data files that belong
    to no group with a host. monitor_host: None if there is no monitor. beat_hosts: in the inventory's order. All of them are keys
    of `hosts`. external_scheme: of the URL of a broker that is not ours; empty if it is not known, since the secrets file is not
    there.
    """

    hosts: Mapping[str, Host]
    broker_host: str | None
    broker: Broker
    records_host: str
    unused_group_data: tuple[str, ...] = ()
    monitor_host: str | None = None
    monitor: Monitor = field(default_factory=Monitor)
    beat_hosts: tuple[str, ...] = ()
    beat: Beat = field(default_factory=Beat)
    external_scheme: str = ""
    more_broker_hosts: tuple[str, ...] = ()

    @property
    def transport(self) -> Transport:
        """What workers speak with the broker. A broker that is not ours is taken for a Redis while its URL is not known."""
        return "amqp" if self.rabbitmq or self.external_scheme in AMQP else "redis"

    @property
    def settings(self) -> Settings:
        """The settings that hold for the whole fleet. They are read from the host of the records."""
        return self.hosts[self.records_host].settings

    @property
    def redis(self) -> Redis | None:
        """Our own Redis, if that is the broker."""
        return self.broker if isinstance(self.broker, Redis) else None

    @property
    def rabbitmq(self) -> RabbitMQ | None:
        """Our own RabbitMQ, if that is the broker."""
        return self.broker if isinstance(self.broker, RabbitMQ) else None

    @property
    def is_encrypted(self) -> bool:
        """Whether workers speak TLS with the broker."""
        return bool(self.own_broker.tls) if self.own_broker else self.external_scheme in ENCRYPTED

    @property
    def own_broker(self) -> Own | None:
        """Our own broker; None if it is somebody else's."""
        return None if isinstance(self.broker, External) else self.broker

    @property
    def broker_hosts(self) -> tuple[str, ...]:
        """Where our own broker runs, in the inventory's order; none if it is not ours."""
        return (self.broker_host, *self.more_broker_hosts) if self.broker_host else ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names in the secrets file that the workers of any role get, or beat, the monitor, or the broker."""
        workers = [worker for host in self.hosts.values() for worker in host.workers.values()]
        names = [name for worker in workers for name in worker.secrets]
        if self.beat_hosts:
            names += self.beat.secrets
        if self.monitor_host and self.monitor.webhook:
            names.append(self.monitor.webhook)
        if self.monitor_host and self.monitor.flower:
            names.append(FLOWER)
        if self.redis:
            names.append(BROKER_ADMIN)
        return tuple(dict.fromkeys([*names, *self.broker_secrets]))

    @property
    def broker_netloc(self) -> str:
        """Address and port at which workers reach our own broker, as a URL has them."""
        assert self.own_broker  # noqa: S101 - it is ours
        return netloc(self.broker_address, self.own_broker.ports[0])

    @property
    def master_name(self) -> str | None:
        """The name of the primary, if sentinels know it."""
        return self.broker.master_name if isinstance(self.broker, External) else None

    @property
    def broker_name(self) -> str:
        """The broker for people: its host, or the name of its URL."""
        return self.broker_host or (self.broker.url.removeprefix(REFERENCE) if isinstance(self.broker, External) else "")

    @property
    def broker_secrets(self) -> tuple[str, ...]:
        """Names in the secrets file that a connection to the broker and to the results needs."""
        given = [self.broker.url] if isinstance(self.broker, External) else []
        given.append(self.settings.result_backend)
        named = [value.removeprefix(REFERENCE) for value in given if value.startswith(REFERENCE)]
        own = BROKER_NAMES if self.own_broker else ()
        return (*own, *((COOKIE,) if self.rabbitmq else ()), *named)

    @property
    def broker_address(self) -> str:
        """The IP address at which workers reach our own broker, or its first node."""
        assert self.broker_host  # noqa: S101 - it is ours
        return self.address_of(self.broker_host)

    def address_of(self, host: str) -> str:
        """The IP address at which workers reach a host of our own broker."""
        address = self.hosts[host].settings.lan_address
        assert address is not None  # noqa: S101 - load() refuses a broker without one
        return address

    @property
    def monitor_address(self) -> str:
        """Where Prometheus and Alertmanager listen on the monitor's host, as a URL has it."""
        address = self.hosts[self.monitor_host].settings.lan_address if self.monitor_host else None
        if self.monitor.listen == "loopback" or address is None:
            return "127.0.0.1"
        return f"[{address}]" if ":" in address else address

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools that workers use, sorted."""
        return tuple(sorted({worker.pool for host in self.hosts.values() for worker in host.workers.values()}))
