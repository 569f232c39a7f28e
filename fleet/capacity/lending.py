"""What a fleet's settings allow to be lent: who can run whose tasks, and how many more slots a worker may have. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import product

from fleet.capacity.balance.terms import Group
from fleet.capacity.station import Station, stations
from fleet.plan.instance import Instance
from fleet.plan.plan import Placement, Plan
from fleet.plan.sizing import PARENT, RECYCLE_SHARE, least_child, mib, slot_memory

MOST_TIMES = 2
"""How many times its own slots a worker may have."""


def terms_of(plan: Plan, nodes: Callable[[Instance], Iterable[str]]) -> dict[str, Group]:
    """The groups of a fleet, by name. nodes: the names that a worker may have among Celery's."""
    of_fleet = [station for station in stations(plan) if station.workers]
    groups = {
        station.name: Group(
            name=station.name,
            queues=station.queues,
            objective=station.objective.seconds if station.objective else None,
            nodes=tuple(node for instance in plan.instances if instance.role in station.roles for node in nodes(instance)),
            spare=min((spare(place) for place in _places(plan, station)), default=0),
        )
        for station in of_fleet
    }
    return {lender.name: _with_takes(groups[lender.name], lender, of_fleet, plan) for lender in of_fleet}


def _with_takes(group: Group, lender: Station, of_fleet: Iterable[Station], plan: Plan) -> Group:
    takes, refused = [], {}
    for station in of_fleet:
        if station is lender:
            continue
        pairs = product(_places(plan, lender), _places(plan, station))
        if why := next((why for pair in pairs for why in obstacles(*pair)), ""):
            refused[station.name] = why
        else:
            takes.append(station.name)
    return replace(group, takes=tuple(takes), refused=refused)


def _places(plan: Plan, station: Station) -> list[Placement]:
    return [place for role in station.roles for place in plan.roles[role] if place.sized.instances]


def obstacles(lender: Placement, borrower: Placement) -> Iterator[str]:
    """Why a worker of one role cannot run tasks of another's, in words."""
    mine, theirs = lender.worker, borrower.worker
    if "gpu" in (mine.workload, theirs.workload):
        yield f"{lender.role if mine.workload == 'gpu' else borrower.role} works on a GPU"
    if mine.pool not in (theirs.pool, "prefork"):
        yield f"{lender.role} runs in {mine.pool} and {borrower.role} in {theirs.pool}: only prefork runs the tasks of any pool"
    if mine.time_limit < theirs.time_limit:
        yield f"a task of {borrower.role} may run {theirs.time_limit} s, and one in {lender.role} {mine.time_limit} s"
    if slot_memory(mine) < slot_memory(theirs) and theirs.memory_per_slot is not None:
        room = mib(slot_memory(mine))
        yield f"a task of {borrower.role} takes {mib(slot_memory(theirs))}, and a slot of {lender.role} has {room}"
    if missing := set(theirs.secrets) - set(mine.secrets):
        yield f"{lender.role} does not have the secret {min(missing)}"
    if missing := {name for name, value in theirs.environment.items() if mine.environment.get(name) != value}:
        yield f"{min(missing)} in the environment of {lender.role} is not that of {borrower.role}"
    if mine.longest_eta < theirs.longest_eta or mine.retry_delay < theirs.retry_delay:
        yield f"tasks of {borrower.role} may be held for their ETA longer than those of {lender.role}"


def spare(place: Placement) -> int:
    """Slots that a worker may have besides its own, within its memory: of prefork with tasks that wait. More slots than cores
    help nobody whose tasks compute, and other pools cannot have fewer again without a task that is cut off."""
    worker, sized = place.worker, place.sized
    if worker.pool != "prefork" or worker.workload != "io" or not sized.memory_max:
        return 0
    child = sized.max_memory_per_child or least_child(worker)
    fit = int(min(sized.memory_max - PARENT["prefork"], sized.memory_max * RECYCLE_SHARE)) // child
    return max(0, min(fit - sized.concurrency, (MOST_TIMES - 1) * sized.concurrency))
