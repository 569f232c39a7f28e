"""`fleet plan`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from fleet.broker import connect
from fleet.capacity import assumption, change, report
from fleet.capacity.assumption import Assumption
from fleet.capacity.change import Change
from fleet.capacity.chart import chart
from fleet.capacity.demand import Demand
from fleet.capacity.need import NeedError
from fleet.capacity.peak import Peak, busiest
from fleet.capacity.planned import Given, Planned, Variant, demand_of, planned, variant
from fleet.capacity.station import Station, demand_on, station_with, stations
from fleet.cli.arguments import Json, looking, say
from fleet.cli.machines import asked
from fleet.errors import FleetError
from fleet.inventory.read import read_inventory
from fleet.observe.broker import expected_of
from fleet.observe.report.report import read_timeline
from fleet.observe.report.timeline import Timeline
from fleet.observe.sampling import samples
from fleet.plan.facts import MachineFacts, assume
from fleet.plan.plan import Plan, resolved
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet
from fleet.spec.text import did_you_mean

Plans = dict[str, Planned | str]
Variants = dict[str, list[Variant]]


def plan_workers(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="INVENTORY", help="A fleet: what comes to its queues is measured, and how long tasks run, or assumed."
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
    growth: Annotated[float, typer.Option(help="Multiply the rate, as for next year.", metavar="NUMBER")] = 1,
    objective: Annotated[
        float | None, typer.Option(help="Seconds that a task may wait; the setting slo has those of a fleet.", metavar="SECONDS")
    ] = None,
    share: Annotated[float, typer.Option(help="Share of the tasks that must not wait longer.", metavar="NUMBER")] = 0.95,
    prefetch: Annotated[
        int | None, typer.Option(help="Tasks that a worker takes for each of its slots.", metavar="NUMBER")
    ] = None,
    headroom: Annotated[int | None, typer.Option(help="Workers that may be away at once.", metavar="NUMBER")] = None,
    assumed: Annotated[
        list[str] | None,
        typer.Option(
            "--assume",
            help="Tasks that nobody has measured, each kind as queue=web,rate=40,time=0.3,spread=2; machines that are not asked, "
            "as cores=8,memory=16G.",
            metavar="VALUES",
        ),
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            help="What would be otherwise, a row each: concurrency=16, prefetch=4, growth=2, machines=3, cores=16,memory=64G.",
            metavar="VALUES",
        ),
    ] = None,
    role: Annotated[str | None, typer.Option(help="Only the queues of this role.", metavar="ROLE")] = None,
    seconds: Annotated[float, typer.Option(help="How long to look at the fleet.", min=1, max=3600, metavar="SECONDS")] = 30,
    hours: Annotated[
        float,
        typer.Option(
            help="Of which the busiest is planned for, if there is a monitor. 0: none.", min=0, max=744, metavar="HOURS"
        ),
    ] = 24,
    recorded: Annotated[
        Path | None, typer.Option("--from", help="A file of `fleet record`, in place of the monitor.", metavar="FILE")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--chart", help="Write a chart of wait against utilisation as SVG.", metavar="FILE")
    ] = None,
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
    changes = [change.parse(text, file is not None) for text in what_if or ()]
    machines = [assume(text) for text in assumed or () if _is_machine(text)]
    loads = [assumption.parse(text) for text in assumed or () if not _is_machine(text)]
    if file is None:
        plans, variants = _of_load(given, loads, changes)
    else:
        plans, variants = _of_fleet(file, given, loads, machines, changes, role, _Look(seconds, hours, recorded))
    if svg:
        svg.write_text(chart({name: part for name, part in plans.items() if isinstance(part, Planned)}))
    if as_json:
        typer.echo(json.dumps(report.as_json(plans, variants)))
    else:
        for name, part in plans.items():
            for line in report.lines(name, part, variants.get(name, ())):
                typer.echo(line)
    raise typer.Exit(1 if any(isinstance(part, str) or part.lacks for part in plans.values()) else 0)


def _is_machine(text: str) -> bool:
    return text.lstrip().startswith(("cores=", "memory=", "gpus="))


def _of_load(given: Given, loads: Sequence[Assumption], changes: Iterable[Change]) -> tuple[Plans, Variants]:
    measured = assumption.demand_of([replace(load, queue="") for load in loads], [""], given.bursts)
    if (known := demand_of(given, measured, None)) is None:
        raise NeedError(
            "say what comes, and how long it runs: --rate 100 --service-time 1; or name the inventory of a fleet that runs"
        )
    part = planned(given, known[0])
    return {"": part}, {"": [variant(given, part, of, None, "redis") for of in changes]}


@dataclass(frozen=True)
class _Look:
    """How to look at a fleet. seconds: at its queues. hours: of its monitor, or of the recording. 0: none."""

    seconds: float
    hours: float
    recorded: Path | None


def _of_fleet(
    file: Path,
    given: Given,
    loads: Sequence[Assumption],
    machines: Sequence[MachineFacts],
    changes: Sequence[Change],
    role: str | None,
    look: _Look,
) -> tuple[Plans, Variants]:
    with looking():
        inventory = read_inventory(file)
        fleet = load_fleet(inventory)
        plan = resolved(fleet, _machines(file, inventory, machines))
    chosen = [station for station in stations(plan) if role is None or role in station.roles]
    if not chosen and role is None:
        raise NeedError("no machine with workers is known; say what they are: --assume cores=8,memory=16G")
    if not chosen:
        raise NeedError(f"--role: no role {role}; {did_you_mean(role or '', plan.roles) or ', '.join(plan.roles)}")
    assumption.check(loads, tuple(plan.consumers))
    assumed = {station.name: assumption.demand_of(loads, station.queues, given.bursts) for station in chosen}
    if all(assumed.values()) or (given.rate is not None and given.service_time is not None):
        measured: dict[str, Demand | str] = {}
        peaks: dict[str, Peak | None] = {}
    else:
        with looking():
            measured = _measured(inventory, plan, chosen, look.seconds)
            timeline = _timeline(inventory, fleet, look) if given.rate is None else None
        peaks = {station.name: busiest(timeline, station.queues) if timeline else None for station in chosen}
    plans: Plans = {}
    variants: Variants = {}
    for station in chosen:
        name = station.name
        source = assumed[name] or measured.get(name)
        peak = None if assumed[name] else peaks.get(name)
        if (known := demand_of(given, source if isinstance(source, Demand) else None, peak)) is None:
            plans[name] = str(source)
            continue
        demand, notes = known
        plans[name] = part = planned(given, demand, station, fleet.transport, notes)
        variants[name] = [variant(given, part, of, station_with(plan, station, of), fleet.transport) for of in changes]
    return plans, variants


def _machines(file: Path, inventory: Inventory, assumed: Sequence[MachineFacts]) -> dict[str, MachineFacts]:
    """Host → its facts. assumed: those of all hosts, which are not asked then."""
    if assumed:
        return dict.fromkeys(inventory.hosts, assumed[-1])
    return asked(file, inventory)


def _measured(inventory: Inventory, plan: Plan, chosen: Iterable[Station], seconds: float) -> dict[str, Demand | str]:
    with connect.read_session(inventory, plan.fleet) as port:
        say(f"looking at the queues for {seconds:g} s …")
        before, now = samples(port, seconds, plan.fleet.settings.lease, expected_of(plan))
    assert before is not None  # noqa: S101 - some seconds are between
    return {station.name: demand_on(station, plan, before, now) for station in chosen}


def _timeline(inventory: Inventory, fleet: Fleet, look: _Look) -> Timeline | None:
    """The last hours; None if nothing has them."""
    if not look.hours or not (look.recorded or fleet.monitor_host):
        return None
    try:
        return read_timeline(inventory, fleet, look.recorded, time.time(), look.hours)
    except FleetError as error:
        if look.recorded:
            raise
        say(f"the busiest hour is not known: {error}")
        return None
