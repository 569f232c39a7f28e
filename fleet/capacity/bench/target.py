"""The workers that a benchmark is of. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.capacity.bench.bench import BenchError
from fleet.plan import process
from fleet.plan.plan import Plan
from fleet_node.protocol import WorkerSign


@dataclass(frozen=True)
class Target:
    """A role's workers. nodes: their names. slots: of all. cores: of their machines, which bound what they compute."""

    role: str
    nodes: tuple[str, ...]
    slots: int
    cores: int


def target_of(plan: Plan, role: str, signs: Mapping[str, WorkerSign]) -> Target:
    """Those that answer, and are not ending. signs: node → its answer. Raises BenchError if there is none."""
    nodes = tuple(sorted(node for node, sign in signs.items() if _role(node) == role and not sign["draining"]))
    if not nodes:
        raise BenchError(f"no worker of {role} answers: fleet load says why")
    cores = sum(plan.machines[place.host].cores for place in plan.roles[role])
    return Target(role, nodes, sum(signs[node]["slots"] for node in nodes), cores)


def _role(node: str) -> str:
    parts = process.parse_node(node)
    return parts.role if parts else ""
