"""One worker process of one role on one host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.plan.plan import Plan


@dataclass(frozen=True)
class Instance:
    """One worker process: `celery-<role>@<number>.service` on `host`."""

    host: str
    role: str
    number: int

    @property
    def unit(self) -> str:
        """Its systemd unit."""
        return f"celery-{self.role}@{self.number}.service"

    def __str__(self) -> str:
        return f"{self.host}:{self.role}@{self.number}"


def instances_on(plan: Plan, hosts: Iterable[str]) -> tuple[Instance, ...]:
    """Every worker process that `hosts` should have, in the inventory's order."""
    asked = frozenset(hosts)
    return tuple(Instance(one.host, one.role, number) for one, number in plan.instances if one.host in asked)
