"""`fleet queues`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleet.broker import connect
from fleet.broker.ages import Age
from fleet.cli.arguments import InventoryFile, Json, KubeConfig, Namespace, looking, say
from fleet.cli.lines import print_line
from fleet.inventory import last_facts
from fleet.inventory.read import read_inventory
from fleet.kubernetes import pods
from fleet.observe.collect import Survey
from fleet.observe.queues import Queue, queues_as_json, queues_of
from fleet.observe.sampling import samples
from fleet.plan.plan import resolved
from fleet.spec.load import load_fleet
from fleet.spec.text import short, span, table_lines

UNKNOWN = "?"
"""What the broker does not know."""


def show_queues(
    file: InventoryFile,
    seconds: Annotated[
        float, typer.Option(help="Seconds between two looks, for the rates; 0 leaves them out.", min=0, max=60)
    ] = 2.0,
    kubeconfig: KubeConfig = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Show every queue: what waits in it and for how long, what workers hold of it, how fast it grows, and who consumes it.

    OLDEST is how long the oldest task waits whose time has come, with its bounds if they are apart. ORPHANED are messages of
    workers that are silent, and when they come back to the queue. Machines are not asked, only the broker and the workers.

    Exit code: 0; 1 if a queue has fewer consumers than it has to have, or the workers could not be asked; 2 if the broker
    could not be.

    Example: fleet queues inventory/prod.py
    """
    with looking():
        queues, problem, unknown = _look(_survey(file, kubeconfig, namespace), seconds)
    if problem:
        say(problem)
    if as_json:
        typer.echo(json.dumps(queues_as_json(queues, unknown), indent=1))
    else:
        _show(queues, Console())
        for why in unknown.values():
            say(f"not known: {why}")
    raise typer.Exit(0 if not problem and all(queue.is_served for queue in queues) else 1)


def _survey(file: Path, kubeconfig: Path | None, namespace: str) -> Survey:
    """The fleet as a cluster has it, or as it was last known."""
    if kubeconfig:
        return pods.survey(file, pods.access(kubeconfig, namespace))
    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    return Survey(inventory, resolved(fleet, last_facts.read(file)[0].completed({}, fleet.hosts)), machines={})


def _look(survey: Survey, seconds: float) -> tuple[list[Queue], str, Mapping[str, str]]:
    """The queues, why the workers were not asked, if they were not, and what the broker does not know."""
    plan = survey.plan
    with connect.read_session(survey.inventory, plan.fleet) as port:
        before, now = samples(port, seconds, plan.fleet.settings.lease, survey.expected)
        problem = now.problem or port.health().problem
    return queues_of(plan, before, now), problem, now.unknown


def _show(queues: Iterable[Queue], console: Console) -> None:
    heads = (
        "QUEUE",
        "WAITING",
        "OLDEST",
        "IN/s",
        "OUT/s",
        "EMPTY IN",
        "RUNNING",
        "HELD",
        "ETA",
        "ORPHANED",
        "CONSUMERS",
        "PARKED",
    )
    queues = list(queues)
    rows = [
        (
            short(queue.name, 100),
            _waiting(queue),
            _age(queue.oldest) if queue.is_aged else UNKNOWN if queue.waiting else "-",
            _rate(queue.in_s),
            _rate(queue.out_s),
            _empty_in(queue),
            str(queue.running),
            str(queue.prefetched),
            str(queue.eta),
            _orphans(queue),
            f"{queue.consumers}/{queue.expected} (min {queue.minimum})",
            str(queue.dead_letters),
        )
        for queue in queues
    ]
    for line, shown in zip(table_lines(heads, rows), [None, *queues], strict=True):
        style = "bold" if shown is None else None if shown.is_served else "red"
        print_line(console, line, style)


def _waiting(queue: Queue) -> str:
    apart = {priority: number for priority, number in queue.by_priority.items() if number}
    if set(apart) <= {0}:
        return str(queue.waiting)
    return f"{queue.waiting} ({', '.join(f'{priority}: {number}' for priority, number in sorted(apart.items()))})"


def _age(age: Age | None) -> str:
    if age is None:
        return "-"
    if age.most is None:
        return f"over {span(age.least)}"
    least, most = span(age.least), span(age.most)
    return span(age.seconds) if age.most - age.least <= 2 or least == most else f"{least} to {most}"


def _empty_in(queue: Queue) -> str:
    if not queue.waiting or queue.out_s is None:
        return "-"
    return "never" if queue.drained_s is None else span(queue.drained_s)


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"


def _orphans(queue: Queue) -> str:
    if not queue.orphaned:
        return UNKNOWN if queue.orphaned is None else "0"
    return f"{queue.orphaned}, back in {span(queue.back_s)}" if queue.back_s is not None else str(queue.orphaned)
