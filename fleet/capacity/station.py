"""The roles of a fleet that serve the same queues, and what comes to them. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fleet.capacity.change import Change, changed
from fleet.capacity.demand import Demand
from fleet.capacity.forecast import Objective
from fleet.capacity.measured import LEAST_RUNS, kinds_of
from fleet.lint.connections import OF_RABBITMQ, broker_connections
from fleet.observe.queues import Sample, queues_of
from fleet.plan.plan import Placement, Plan
from fleet.plan.sizing import SizedWorker
from fleet.rollout.steps import limit


@dataclass(frozen=True)
class Station:
    """Roles that share queues, and so the load on them. workers, slots: of all together. prefetch: tasks that a worker takes for
    each of its slots. machines: on which they are. memory: bytes of a worker, on average. connections: to the broker, that a
    worker opens at most, on average. step: workers that are away at once in a rollout; none if there is one, which a second
    relieves first. on_one_host: workers that are gone with the machine that has the most. objective: the shortest of its queues.
    problems: why they do not fit into the memory, by host."""

    roles: tuple[str, ...]
    queues: tuple[str, ...]
    workers: int
    slots: int
    prefetch: int
    machines: int
    memory: int
    connections: int
    step: int
    on_one_host: int
    objective: Objective | None = None
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For people."""
        return " + ".join(self.roles)

    @property
    def concurrency(self) -> int:
        """Slots of a worker, on average."""
        return max(1, round(self.slots / self.workers)) if self.workers else 1

    @property
    def headroom(self) -> int:
        """Workers that may be away at once: a step of a rollout, or a machine that is lost. Both at the same time is bad luck."""
        return max(self.step, self.on_one_host)


def stations(plan: Plan) -> list[Station]:
    """All of a fleet. Each role is in one of them."""
    left = dict(plan.roles)
    result = []
    while left:
        roles, queues = [first := next(iter(left))], _queues(left.pop(first))
        while more := [role for role, places in left.items() if queues & _queues(places)]:
            for role in more:
                roles.append(role)
                queues |= _queues(left.pop(role))
        result.append(_station(plan, roles, queues))
    return result


def station_with(plan: Plan, station: Station, change: Change) -> Station:
    """The station as it would be with a change."""
    if change.is_of_load:
        return station
    return next(of for of in stations(changed(plan, change, station.roles)) if set(of.roles) == set(station.roles))


def _queues(places: tuple[Placement, ...]) -> set[str]:
    return {queue for place in places for queue in place.worker.queues}


def _station(plan: Plan, roles: list[str], queues: set[str]) -> Station:
    places = [place for role in roles for place in plan.roles[role] if place.sized.instances]
    workers = sum(place.sized.instances for place in places)
    on_hosts: Counter[str] = Counter()
    for place in places:
        on_hosts[place.host] += place.sized.instances
    slo = plan.fleet.settings.slo
    objectives = [float(slo[queue]) for queue in queues if queue in slo]
    return Station(
        roles=tuple(roles),
        queues=tuple(sorted(queues)),
        workers=workers,
        slots=sum(place.sized.slots for place in places),
        prefetch=max((prefetch for place in places if isinstance(prefetch := place.worker.prefetch, int)), default=1),
        machines=len(on_hosts),
        memory=_average(places, lambda sized: sized.expected),
        connections=_average(places, broker_connections) if plan.fleet.transport == "redis" else OF_RABBITMQ,
        step=max((limit(place.worker, workers) for place in places), default=0) if workers > 1 else 0,
        on_one_host=max(on_hosts.values(), default=0) if len(on_hosts) > 1 else 0,
        objective=Objective(min(objectives)) if objectives else None,
        problems=tuple(f"{place.host}: {place.sized.problem}" for place in places if place.sized.problem),
    )


def _average(places: Iterable[Placement], of: Callable[[SizedWorker], int]) -> int:
    """Of all workers; 0 if there is none."""
    instances = [(place.sized.instances, of(place.sized)) for place in places]
    workers = sum(number for number, _ in instances)
    return round(sum(number * value for number, value in instances) / workers) if workers else 0


def demand_on(station: Station, plan: Plan, before: Sample, now: Sample) -> Demand | str:
    """What comes to a station, or why that is not known. before, now: the broker and the workers, some seconds apart."""
    if missing := next(_missing(station, plan, before, now), ""):
        return missing
    rates = [queue.in_s for queue in queues_of(plan, before, now) if queue.name in station.queues]
    counts = [entry for sign in now.alive.values() for entry in sign["tasks"]]
    return Demand(math.fsum(rate for rate in rates if rate), kinds_of(counts, station.queues))


def _missing(station: Station, plan: Plan, before: Sample, now: Sample) -> Iterator[str]:
    seconds = now.at - before.at
    if not any(set(sign["queues"]) & set(station.queues) for sign in now.alive.values()):
        yield "no worker of it answers: fleet load says why"
    queues = [queue for queue in queues_of(plan, before, now) if queue.name in station.queues]
    if any(queue.in_s is None for queue in queues):
        yield "how fast tasks come is not known, since workers came or went meanwhile: look again"
    if not any(queue.in_s for queue in queues):
        yield f"nothing came to {', '.join(station.queues)} in {seconds:.0f} s: look for longer (--seconds 300), or say --rate"
    if not kinds_of([entry for sign in now.alive.values() for entry in sign["tasks"]], station.queues):
        yield f"none of its tasks has run {LEAST_RUNS} times since its workers started: look later, or say --service-time"
