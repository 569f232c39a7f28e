"""Who restarts when: one instance of each role first, then batches, and never so many that a queue is left with too few.

Pure functions of the plan and of what differs. What a step does to a machine is `fleet_node.step`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from fleet.plan.instance import Instance
from fleet.plan.plan import Plan
from fleet.spec.text import enumerate_briefly
from fleet.spec.worker import Worker
from fleet.state.diff import Changes


@dataclass(frozen=True)
class Step:
    """Instances that go down and come up together; the next step begins when all of them are up and answer.

    canary: whether they are the first of their roles. underserved: queues that meanwhile have fewer consumers than their roles
    keep, since there are no others.
    """

    instances: tuple[Instance, ...]
    canary: bool = False
    underserved: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that take part, each once."""
        return tuple(dict.fromkeys(instance.host for instance in self.instances))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Computed once: results are kept by step and host, and a step may have a thousand instances."""
        return hash((self.instances, self.canary))

    def __str__(self) -> str:
        waits = f" (others first, for {', '.join(self.underserved)})" if self.underserved else ""
        return ("canary: " if self.canary else "") + enumerate_briefly(map(str, self.instances)) + waits


def outdated(plan: Plan, changes: Mapping[str, Changes]) -> tuple[list[Instance], list[Instance]]:
    """(instances to restart, instances to start), in the inventory's order. changes: of the workers of each host.

    Decided by what runs and not by what was written, so that a rollout that was cut off is finished by the next.
    """
    instances = plan.instances_on(changes)
    return (
        [instance for instance in instances if instance.unit in changes[instance.host].restart],
        [instance for instance in instances if instance.unit in changes[instance.host].start],
    )


def plan_steps(restart: Iterable[Instance], start: Iterable[Instance], plan: Plan) -> tuple[Step, ...]:
    """The rollout. restart: instances that run something else than they should, in the inventory's order; start: those that do
    not run at all. They take nothing from a queue, so they start together: after the canaries, whose release they share.
    """
    waiting = _by_role(restart)
    steps: list[Step] = []
    canaries = [queue.pop(0) for queue in waiting.values() if queue[0].worker.canary]
    number_of_canaries = len(canaries)
    while canaries:
        step, canaries = _fill(canaries, plan, lambda instance: number_of_canaries)
        steps.append(Step(step.instances, canary=True, underserved=step.underserved))
    starting = tuple(start)
    if starting:
        steps.append(Step(starting))
    rest = [instance for queue in waiting.values() for instance in queue]
    totals = {role: sum(placement.sized.instances for placement in places) for role, places in plan.roles.items()}
    while rest:
        step, rest = _fill(rest, plan, lambda instance: limit(instance.worker, totals[instance.role]))
        steps.append(step)
    return tuple(steps)


def limit(worker: Worker, total: int) -> int:
    """How many of a role's `total` instances may be down at once: at least one, or nothing would ever change."""
    given = worker.max_unavailable
    return max(1, int(total * int(given.rstrip("%")) / 100) if isinstance(given, str) else given)


def _fill(waiting: Sequence[Instance], plan: Plan, limit_of: Callable[[Instance], int]) -> tuple[Step, list[Instance]]:
    """The next step, and the instances that still wait after it. limit_of: how many of an instance's role may be in a step."""
    chosen: list[Instance] = []
    later: list[Instance] = []
    down: dict[str, int] = {}
    in_step: dict[str, int] = {}
    limits: dict[str, int] = {}  # hosts of a role may allow different numbers: the least of a step's counts
    minimum = cache(plan.min_consumers)

    def lacks(queue: str, number: int) -> bool:
        """Whether a queue has fewer consumers than it keeps while so many are down."""
        return plan.consumers[queue] - number < minimum(queue)

    for instance in waiting:
        own = limit_of(instance)
        most = min(limits.get(instance.role, own), own)
        short = [queue for queue in instance.queues if lacks(queue, down.get(queue, 0) + 1)]
        # An instance that nobody can stand in for goes in a step in which nobody else of its queues is down.
        conflicts = any(down.get(queue) for queue in short)
        if in_step.get(instance.role, 0) >= most or conflicts:
            later.append(instance)
            continue
        chosen.append(instance)
        limits[instance.role] = most
        in_step[instance.role] = in_step.get(instance.role, 0) + 1
        for queue in instance.queues:
            down[queue] = down.get(queue, 0) + 1
    underserved = tuple(sorted(queue for queue, number in down.items() if lacks(queue, number)))
    return Step(tuple(chosen), underserved=underserved), later


def _by_role(instances: Iterable[Instance]) -> dict[str, list[Instance]]:
    by_role: dict[str, list[Instance]] = {}
    for instance in instances:
        by_role.setdefault(instance.role, []).append(instance)
    return by_role
