"""The fleet: what an inventory says, and what it comes to when it is validated. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.spec.broker import Broker
from fleet.spec.settings import Settings
from fleet.spec.worker import Worker


@dataclass(frozen=True)
class Inventory:
    """What an inventory and its group data say, as plain values.

    hosts: name → data merged for that host. groups: name → host names, in the inventory's order. group_data: the groups
    that have data of their own. The group of all hosts that is named after the inventory file is not among the groups.
    """

    hosts: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, tuple[str, ...]]
    group_data: frozenset[str]


@dataclass(frozen=True)
class Host:
    """One machine: its settings and the worker roles that it runs, by group name."""

    name: str
    settings: Settings
    workers: Mapping[str, Worker]


@dataclass(frozen=True)
class Fleet:
    """The whole fleet, validated. broker_host: a key of `hosts`. unused_group_data: names that no group with a host has."""

    hosts: Mapping[str, Host]
    broker_host: str
    broker: Broker
    unused_group_data: tuple[str, ...] = ()

    @property
    def settings(self) -> Settings:
        """The settings that stand for the whole fleet: the broker's host's."""
        return self.hosts[self.broker_host].settings

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names in the secrets file that some role's workers get."""
        return tuple(dict.fromkeys(name for host in self.hosts.values() for one in host.workers.values() for name in one.secrets))

    @property
    def broker_address(self) -> str:
        """Where workers reach the broker."""
        address = self.settings.lan_address
        assert address is not None  # noqa: S101 - load() refuses a broker without one
        return address

    @property
    def broker_netloc(self) -> str:
        """Address and port of the broker, as they stand in a URL."""
        address = self.broker_address
        return f"[{address}]:{self.broker.port}" if ":" in address else f"{address}:{self.broker.port}"

    @property
    def pools(self) -> tuple[str, ...]:
        """Every pool that some worker uses, sorted."""
        return tuple(sorted({worker.pool for host in self.hosts.values() for worker in host.workers.values()}))
