"""`fleet plan`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.broker import connect
from fleet.capacity import need
from fleet.capacity.demand import Demand, Service
from fleet.capacity.forecast import Forecast, Objective
from fleet.capacity.need import Need, NeedError, Question
from fleet.capacity.station import Station, demand_on, stations
from fleet.cli.arguments import Json, looking, say
from fleet.inventory import last_facts
from fleet.inventory.ask import try_machines
from fleet.inventory.read import read_inventory
from fleet.observe.broker import expected_of
from fleet.observe.sampling import samples
from fleet.plan.plan import resolved
from fleet.spec.load import load_fleet
from fleet.spec.text import count, did_you_mean, table_lines

BAR = 40
"""Width of the longest bar."""


def plan_workers(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="INVENTORY", help="A fleet that runs: what comes to its queues is measured, and how long tasks run."
        ),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Tasks a second.", metavar="NUMBER")] = None,
    service_time: Annotated[float | None, typer.Option(help="Seconds that a task runs, on average.", metavar="SECONDS")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Slots of a worker: 8 without an inventory.", metavar="NUMBER")] = None,
    spread: Annotated[
        float, typer.Option(help="Variance / mean² of the service time: 0 if all tasks are equal.", metavar="NUMBER")
    ] = 1,
    bursts: Annotated[
        float, typer.Option(help="The same of the times between arrivals: 1 if they are independent.", metavar="NUMBER")
    ] = 1,
    growth: Annotated[float, typer.Option(help="Multiply the rate, as for the busiest hour of a day.", metavar="NUMBER")] = 1,
    objective: Annotated[
        float | None, typer.Option(help="Seconds that a task may wait; the setting slo has those of a fleet.", metavar="SECONDS")
    ] = None,
    share: Annotated[float, typer.Option(help="Share of the tasks that must not wait longer.", metavar="NUMBER")] = 0.95,
    prefetch: Annotated[
        int | None, typer.Option(help="Tasks that a worker takes for each of its slots.", metavar="NUMBER")
    ] = None,
    headroom: Annotated[int | None, typer.Option(help="Workers that may be away at once.", metavar="NUMBER")] = None,
    role: Annotated[str | None, typer.Option(help="Only the queues of this role.", metavar="ROLE")] = None,
    seconds: Annotated[float, typer.Option(help="How long to look at the fleet.", min=1, max=3600, metavar="SECONDS")] = 30,
    as_json: Json = False,
) -> None:
    """Plan how many workers a load needs, and show why.

    A task waits if all slots are busy when it comes, and that happens long before they are busy all the time. With an objective,
    workers are added until so many tasks wait no longer. Of a fleet, the roles that share queues are planned together.

    Exit code: 0; 1 if no fleet can serve the load, a number is wrong, or, of a fleet, a role has too few workers; 2 if it cannot
    be looked at.

    Example: fleet plan --rate 100 --service-time 1 --concurrency 8 --objective 0.5
    """
    given = Given(rate, service_time, spread, bursts, growth, objective, share, concurrency, prefetch, headroom)
    if file is None:
        planned = {"": _planned(given, None, None)}
    else:
        with looking():
            planned = _of_fleet(file, given, role, seconds)
    if as_json:
        typer.echo(json.dumps(_as_json(planned)))
    else:
        for name, part in planned.items():
            for line in _lines(name, part):
                typer.echo(line)
    raise typer.Exit(1 if any(isinstance(part, str) or part.lacks for part in planned.values()) else 0)


@dataclass(frozen=True)
class Given:
    """The options. None: not given."""

    rate: float | None
    service_time: float | None
    spread: float
    bursts: float
    growth: float
    objective: float | None
    share: float
    concurrency: int | None
    prefetch: int | None
    headroom: int | None


@dataclass(frozen=True)
class Planned:
    """A question, its answer, and what serves it now; None without a fleet."""

    question: Question
    answer: Need
    station: Station | None

    @property
    def lacks(self) -> int:
        """Workers that are missing."""
        return max(0, self.answer.workers - self.station.workers) if self.station else 0


def _of_fleet(file: Path, given: Given, role: str | None, seconds: float) -> dict[str, Planned | str]:
    """Roles → the plan of their queues, or why there is none."""
    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    answers, silent = try_machines(inventory.hosts)
    last, _ = last_facts.read(file)
    plan = resolved(fleet, last.completed(answers, silent))
    for host in silent:
        known = "as it was when it last answered" if host in last.hosts else "left out"
        say(f"{host} does not answer, and is {known}: {silent[host]}")
    chosen = [station for station in stations(plan) if role is None or role in station.roles]
    if not chosen:
        raise NeedError(f"--role: no role {role}; {did_you_mean(role or '', plan.roles) or ', '.join(plan.roles)}")
    with connect.read_session(inventory, fleet) as port:
        say(f"looking at the queues for {seconds:g} s …")
        before, now = samples(port, seconds, fleet.settings.lease, expected_of(plan))
    assert before is not None  # noqa: S101 - some seconds are between
    return {" + ".join(station.roles): _planned(given, station, demand_on(station, plan, before, now)) for station in chosen}


def _planned(given: Given, station: Station | None, measured: Demand | str | None) -> Planned | str:
    """measured: what comes to the station, or why that is not known; None without one."""
    demand = measured if isinstance(measured, Demand) else None
    rate = given.rate if given.rate is not None else demand.rate if demand else None
    kinds = demand.kinds if demand else ()
    if given.service_time is not None:
        kinds = (Service(1, given.service_time, given.spread),)
    if rate is None or not kinds:
        if isinstance(measured, str):
            return measured
        raise NeedError(
            "say what comes, and how long it runs: --rate 100 --service-time 1; or name the inventory of a fleet that runs"
        )
    objective = Objective(given.objective, given.share) if given.objective is not None else station and station.objective
    question = Question(
        Demand(rate * given.growth, kinds, given.bursts),
        given.concurrency or (station.concurrency if station else 8),
        given.prefetch or (station.prefetch if station else 1),
        replace(objective, share=given.share) if objective else None,
        given.headroom if given.headroom is not None else station.headroom if station else 0,
    )
    return Planned(question, need.need(question), station)


def _lines(name: str, part: Planned | str) -> Iterator[str]:
    if isinstance(part, str):
        yield f"{name}: not planned: {part}"
        return
    if name:
        yield f"{name}:"
    lines = [*need.explain(part.question, part.answer), "", *_chart(part)]
    if part.station:
        lines += [
            "",
            f"{count(part.lacks, 'worker')} more, {part.lacks * part.station.memory >> 20} MB" if part.lacks else "enough",
        ]
    yield from (f"  {line}".rstrip() if name else line for line in lines)


def _chart(part: Planned) -> list[str]:
    """The wait with more workers and with fewer, as a table with bars."""
    share = part.question.share
    numbers = {"enough": part.answer.serving}
    if part.question.headroom:
        numbers["with headroom"] = part.answer.workers
    if part.station:
        numbers["now"] = part.station.workers
    curve = need.curve(part.question, part.answer, numbers.get("now"))
    longest = max((of.waits[share] for of in curve if of.utilisation < 1), default=0.0)
    rows = []
    for of in curve:
        wait, is_finite = of.waits[share], of.utilisation < 1
        bar = "█" * math.ceil(BAR * wait / longest) if is_finite and longest else ""
        labels = ", ".join(name for name, number in numbers.items() if number == of.layout.workers)
        shown = need.seconds(wait) if is_finite else "without end"
        rows.append((str(of.layout.workers), f"{of.utilisation:.0%}", shown, bar, labels))
    return table_lines(("WORKERS", "BUSY", f"{share:.0%} WAIT", "", ""), rows)


def _as_json(planned: Mapping[str, Planned | str]) -> dict[str, Any]:
    if "" in planned:
        return _plain(planned[""])
    return {"roles": {name: _plain(part) for name, part in planned.items()}}


def _plain(part: Planned | str) -> dict[str, Any]:
    if isinstance(part, str):
        return {"not_planned": part}
    question, answer, station = part.question, part.answer, part.station
    result = {
        "slots": answer.slots,
        "workers": answer.workers,
        "load": round(question.demand.load, 4),
        "rate": question.demand.rate,
        "service_time_s": round(question.demand.service, 6),
        "spread": round(question.demand.spread, 4),
        "serving": _forecast(answer.enough),
        "one_fewer": _forecast(answer.fewer) if answer.fewer else None,
        "reasons": list(need.explain(question, answer)),
    }
    if station:
        result |= {"now": _forecast(need.forecast_of(question, station.workers)), "lacks": part.lacks}
    curve = need.curve(question, answer, station.workers if station else None)
    return {**result, "curve": [_forecast(of) for of in curve]}


def _forecast(of: Forecast) -> dict[str, Any]:
    keeps_up = of.utilisation < 1
    return {
        "workers": of.layout.workers,
        "slots": of.layout.slots,
        "utilisation": round(of.utilisation, 4),
        "mean_wait_s": round(of.mean, 4) if keeps_up else None,
        "waits_s": {f"{share:g}": round(wait, 4) if keeps_up else None for share, wait in of.waits.items()},
    }
