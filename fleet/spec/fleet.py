"""The inventory as pyinfra reads it, and the validated fleet that it describes. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.spec.beat import Beat
from fleet.spec.broker import Broker
from fleet.spec.monitor import Monitor
from fleet.spec.secrets import FLOWER
from fleet.spec.settings import Settings
from fleet.spec.worker import Worker


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

    hosts: by name. broker_host: a key of `hosts`. unused_group_data: names of group data files that belong to no group with a
    host. monitor_host: a key of `hosts`; None if there is no monitor. beat_hosts: keys of `hosts`, in the inventory's order.
    """

    hosts: Mapping[str, Host]
    broker_host: str
    broker: Broker
    unused_group_data: tuple[str, ...] = ()
    monitor_host: str | None = None
    monitor: Monitor = field(default_factory=Monitor)
    beat_hosts: tuple[str, ...] = ()
    beat: Beat = field(default_factory=Beat)

    @property
    def settings(self) -> Settings:
        """The settings that hold for the whole fleet. They are read from the broker's host."""
        return self.hosts[self.broker_host].settings

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names in the secrets file that the workers of any role get, or beat, or the monitor."""
        workers = [worker for host in self.hosts.values() for worker in host.workers.values()]
        names = [name for worker in workers for name in worker.secrets]
        if self.beat_hosts:
            names += self.beat.secrets
        if self.monitor_host and self.monitor.webhook:
            names.append(self.monitor.webhook)
        if self.monitor_host and self.monitor.flower:
            names.append(FLOWER)
        return tuple(dict.fromkeys(names))

    @property
    def broker_address(self) -> str:
        """The IP address at which workers reach the broker."""
        address = self.settings.lan_address
        assert address is not None  # noqa: S101 - load() refuses a broker without one
        return address

    @property
    def broker_netloc(self) -> str:
        """Address and port of the broker, as a URL has them (an IPv6 address in brackets)."""
        address = self.broker_address
        return f"[{address}]:{self.broker.port}" if ":" in address else f"{address}:{self.broker.port}"

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
