"""Who restarts when: one instance of each role first, then batches, and never so many that a queue is left with too few.

A pure function of the plan and of what differs. What a step does to a machine is `roles.apply`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleet.plan.instance import Instance
from fleet.plan.plan import Plan
from fleet.spec.worker import Worker


@dataclass(frozen=True)
class Step:
    """Instances that go down and come up together; the next step begins when all of them are up and answer.

    canary: whether they are the first of their roles. bare: queues that meanwhile have fewer consumers than their roles keep,
    since there are no others.
    """

    instances: tuple[Instance, ...]
    canary: bool = False
    bare: tuple[str, ...] = ()


def plan_steps(restart: Iterable[Instance], start: Iterable[Instance], plan: Plan) -> tuple[Step, ...]:
    """The rollout. restart: instances that run something else than they should, in the inventory's order; start: those that do
    not run at all. They take nothing from a queue, so they start together: after the canaries, whose release they share.
    """
    waiting = _by_role(restart)
    found: list[Step] = []
    canaries = [waits.pop(0) for role, waits in waiting.items() if _worker(plan, role).canary]
    while canaries:
        step, canaries = _fill(canaries, plan, dict.fromkeys(waiting, len(canaries)))
        found.append(Step(step.instances, canary=True, bare=step.bare))
    starting = tuple(start)
    if starting:
        found.append(Step(starting))
    rest = [one for waits in waiting.values() for one in waits]
    while rest:
        step, rest = _fill(rest, plan, {role: limit(_worker(plan, role), _total(plan, role)) for role in waiting})
        found.append(step)
    return tuple(found)


def limit(worker: Worker, total: int) -> int:
    """How many of a role's `total` instances may be down at once: at least one, or nothing would ever change."""
    given = worker.max_unavailable
    return max(1, int(total * int(given.rstrip("%")) / 100) if isinstance(given, str) else given)


def _fill(waiting: Sequence[Instance], plan: Plan, limits: Mapping[str, int]) -> tuple[Step, list[Instance]]:
    """The next step, and who still waits after it."""
    chosen: list[Instance] = []
    later: list[Instance] = []
    down: dict[str, int] = {}
    taken = dict.fromkeys(limits, 0)
    for one in waiting:
        queues = tuple(dict.fromkeys(_worker(plan, one.role).queues))
        short = [queue for queue in queues if plan.consumers[queue] - down.get(queue, 0) - 1 < min_consumers_of(plan, queue)]
        # One that has nobody to stand in for it goes in a step where nobody else of its queues is down.
        alone = short and any(down.get(queue) for queue in short)
        if taken[one.role] >= limits[one.role] or alone:
            later.append(one)
            continue
        chosen.append(one)
        taken[one.role] += 1
        for queue in queues:
            down[queue] = down.get(queue, 0) + 1
    bare = tuple(
        sorted(queue for queue, number in down.items() if plan.consumers[queue] - number < min_consumers_of(plan, queue))
    )
    return Step(tuple(chosen), bare=bare), later


def _by_role(restart: Iterable[Instance]) -> dict[str, list[Instance]]:
    found: dict[str, list[Instance]] = {}
    for one in restart:
        found.setdefault(one.role, []).append(one)
    return found


def _worker(plan: Plan, role: str) -> Worker:
    return plan.roles[role][0].sized.worker


def _total(plan: Plan, role: str) -> int:
    return sum(place.sized.instances for place in plan.roles[role])


def min_consumers_of(plan: Plan, queue: str) -> int:
    """Consumers that a queue keeps: the most that any of its roles asks for."""
    return max(_worker(plan, role).min_consumers for role in plan.roles if queue in _worker(plan, role).queues)
