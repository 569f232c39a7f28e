"""`fleet lint`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleet.broker import connect
from fleet.broker.look import look
from fleet.cli.arguments import InventoryFile, Json, say
from fleet.errors import FleetError
from fleet.inventory.read import read_inventory
from fleet.lint import report
from fleet.lint import run as linting
from fleet.plan.plan import Plan
from fleet.rollout import preflight
from fleet.rollout.preflight import Preflight


def lint_fleet(
    file: InventoryFile,
    assume: Annotated[
        str | None,
        typer.Option(help="Ask no machine; size every worker for these facts, e.g. cores=8,memory=16G,gpus=1.", metavar="FACTS"),
    ] = None,
    python: Annotated[
        Path | None, typer.Option(help="A Python that has what the app imports; else a virtualenv is built on first use.")
    ] = None,
    no_app: Annotated[bool, typer.Option("--no-app", help="Do not load the app, and leave out the rules about it.")] = False,
    as_json: Json = False,
) -> None:
    """Size every worker to its machine, and check all settings against each other, before anything changes.

    The machines are asked over SSH, and the broker what waits in it, and which workers are alive. With --assume, no machine is
    asked.

    Exit code: 0; 1 if a rule found an error or a warning; 2 if the fleet could not be checked.

    Example: fleet lint inventory/prod.py --assume cores=8,memory=16G,gpus=1
    """
    try:
        plan, findings = linting.run(file, assume=assume, python=python, load_app=not no_app, say=say)
        if assume is None:
            findings = (*findings, *preflight.as_findings(_look(file, plan)))
    except FleetError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(report.as_json(plan, findings), indent=1))
    else:
        report.show(plan, findings, Console())
    raise typer.Exit(1 if any(finding.counts for finding in findings) else 0)


def _look(file: Path, plan: Plan) -> Preflight:
    """What of the broker a run would leave behind. If the broker cannot be asked, that is noted."""
    try:
        with connect.broker(read_inventory(file), plan.fleet) as urls:
            view = look(urls["CELERY_BROKER_URL"])
    except FleetError as error:
        return Preflight(None, (f"not asked what waits in it: {str(error).splitlines()[0]}",))
    return preflight.judge_broker(view, plan, preflight.names_of(plan.fleet.hosts))
