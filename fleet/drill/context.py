"""The fleet as a drill of a fault sees it: its workers, their processes, and shell commands on its machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from fleet.broker.port import Port, opened
from fleet.inventory import ssh
from fleet.plan import process
from fleet.plan.plan import Plan
from fleet.rollout import lock

if TYPE_CHECKING:
    from fleet.drill.load import Producer

Say = Callable[[str], None]
PATIENCE = 30.0
"""Seconds for the broker to answer."""


def is_local(hosts: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every machine is reached over loopback, as the lab's are. hosts: name → inventory data."""

    def is_loopback(host: str, data: Mapping[str, Any]) -> bool:
        try:
            return ip_address(str(data.get("ssh_hostname") or host)).is_loopback
        except ValueError:
            return False

    return all(is_loopback(host, data) for host, data in hosts.items())


@dataclass(frozen=True)
class RunningWorker:
    """One worker: its host, its systemd unit, its node name in Celery, and the tasks that it runs at once."""

    host: str
    unit: str
    node: str
    slots: int = 1

    def __str__(self) -> str:
        return f"{self.host}:{self.unit}"


@dataclass(frozen=True)
class DrillContext:
    """The fleet under load. hosts: name → inventory data. producer: sends the load. url: of the broker, from here. say: reports
    progress. addresses: of the broker, as machines reach it."""

    plan: Plan
    hosts: Mapping[str, Mapping[str, Any]]
    producer: Producer
    url: str
    say: Say
    addresses: tuple[tuple[str, int], ...]

    @contextmanager
    def broker(self) -> Iterator[Port]:
        """The broker, to look at. Raises AwayError."""
        with opened(self.url, patience=PATIENCE) as port:
            yield port

    def ask(self, host: str, command: str, timeout: float = ssh.PATIENCE) -> str:
        """The output of sh on a machine, as root. timeout: seconds. Raises LockError if it fails."""
        return lock.ask(host, self.hosts[host], command, timeout=timeout)[1]

    def answers(self, host: str) -> bool:
        """Whether a machine answers over SSH."""
        try:
            return ssh.run(host, self.hosts[host], "true").returncode == 0
        except ssh.SSHError:
            return False

    def workers(self) -> list[RunningWorker]:
        """Every worker of the fleet."""
        hostnames = {host: self.ask(host, "uname -n").strip() for host in self.plan.workers}
        return [
            RunningWorker(
                instance.host,
                instance.unit,
                process.node(instance.role, instance.number, hostnames[instance.host]),
                instance.sized.concurrency,
            )
            for instance in self.plan.instances
        ]

    def processes(self, workers: Iterable[RunningWorker]) -> dict[RunningWorker, str]:
        """Worker → PID of its main process. Workers of a host that does not answer are left out."""
        by_host: dict[str, list[RunningWorker]] = {}
        for worker in workers:
            by_host.setdefault(worker.host, []).append(worker)
        processes: dict[RunningWorker, str] = {}
        for host, of_host in by_host.items():
            units = " ".join(worker.unit for worker in of_host)
            with suppress(lock.LockError):
                pids = self.ask(host, f"systemctl show --value --property=MainPID {units}").split()
                processes |= dict(zip(of_host, pids, strict=True))
        return processes
