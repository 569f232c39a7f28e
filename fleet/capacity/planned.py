"""What a user asks of a load, and what follows: what it needs, what that takes, and what would be otherwise. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleet.capacity.change import Change
from fleet.capacity.demand import Demand, Service
from fleet.capacity.forecast import Forecast, Objective
from fleet.capacity.need import Need, Question, forecast_of, need
from fleet.capacity.peak import Peak
from fleet.capacity.resources import Resources, resources
from fleet.capacity.station import Station
from fleet.spec.fleet import Transport

USUAL_CONCURRENCY = 8
"""Without a fleet."""
MORE = 1.1
"""How many times as much as now comes in a busiest hour that counts: less is by chance."""


@dataclass(frozen=True)
class Given:
    """What a user says. None: nothing."""

    rate: float | None = None
    service_time: float | None = None
    spread: float = 1.0
    bursts: float = 1.0
    growth: float = 1.0
    objective: float | None = None
    share: float = 0.95
    concurrency: int | None = None
    prefetch: int | None = None
    headroom: int | None = None


@dataclass(frozen=True)
class Planned:
    """A question and its answer. station: what serves it now; None without a fleet. taken: by all workers that are needed. notes:
    where the demand comes from, if not from what came just now."""

    question: Question
    answer: Need
    station: Station | None = None
    taken: Resources | None = None
    notes: tuple[str, ...] = ()

    @property
    def lacks(self) -> int:
        """Workers that are missing."""
        return max(0, self.answer.workers - self.station.workers) if self.station else 0

    @property
    def there(self) -> int:
        """Workers that there are; without a fleet, that are needed."""
        return self.station.workers if self.station else self.answer.workers


@dataclass(frozen=True)
class Variant:
    """What would be with a change. there: with the workers that there would be; None if there would be none."""

    change: Change
    planned: Planned
    there: Forecast | None


def demand_of(given: Given, measured: Demand | None, peak: Peak | None) -> tuple[Demand, tuple[str, ...]] | None:
    """The demand to plan for, and notes on it. None if it is not known. measured: what came just now. peak: of the last hours."""
    rate = given.rate
    notes: tuple[str, ...] = ()
    if rate is None and measured:
        rate = measured.rate
        if peak and peak.rate > rate * MORE:
            notes = (f"in the busiest of the last {peak.hours:.0f} hours came {peak.rate:.3g} tasks a second, now {rate:.3g}",)
            rate = peak.rate
    kinds = measured.kinds if measured else ()
    if given.service_time is not None:
        kinds = (Service(1, given.service_time, given.spread),)
    if rate is None or not kinds:
        return None
    return Demand(rate * given.growth, kinds, given.bursts), notes


def planned(
    given: Given, demand: Demand, station: Station | None = None, transport: Transport = "redis", notes: tuple[str, ...] = ()
) -> Planned:
    """Takes seconds if a simulation has to decide. Raises NeedError."""
    objective = Objective(given.objective, given.share) if given.objective is not None else station and station.objective
    question = Question(
        demand,
        given.concurrency or (station.concurrency if station else USUAL_CONCURRENCY),
        given.prefetch or (station.prefetch if station else 1),
        replace(objective, share=given.share) if objective else None,
        given.headroom if given.headroom is not None else station.headroom if station else 0,
    )
    answer = need(question)
    taken = resources(station, demand, answer.workers, transport) if station and station.workers else None
    return Planned(question, answer, station, taken, notes)


def variant(given: Given, before: Planned, change: Change, station: Station | None, transport: Transport) -> Variant:
    """What would be with a change. station: as it would be; None without a fleet. Raises NeedError."""
    of = before.question.demand
    demand = replace(of, rate=of.rate * change.growth)
    given = replace(given, concurrency=change.concurrency or given.concurrency, prefetch=change.prefetch or given.prefetch)
    after = planned(given, demand, station, transport)
    there = station.workers if station else before.there
    return Variant(change, after, forecast_of(after.question, there) if there else None)
