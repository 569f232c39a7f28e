"""`fleet lint`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleet.broker import connect
from fleet.broker.look import look
from fleet.broker.verdict import RefusedError
from fleet.cli.arguments import InventoryFile, Json, say
from fleet.errors import FleetError
from fleet.lint import Finding, news, report
from fleet.lint import run as linting
from fleet.lint.finding import Level
from fleet.lint.run import Linted
from fleet.rollout import preflight
from fleet.spec import endpoint
from fleet.spec.text import enumerate_briefly


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
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if there are warnings, and not for errors alone.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show in full what earlier runs have reported, too, and not only its number.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Size every worker to its machine, and check all settings against each other, before anything changes.

    The machines are asked over SSH, and the broker what waits in it, and which workers are alive. For a machine that does not
    answer, the facts that were last seen of it are taken. With --assume, no machine is asked.

    Errors, and warnings and notes that no earlier run has reported, are shown in full; of the others, only the number.

    Exit code: 0; 1 if a rule found an error, or with --strict a warning; 2 if the fleet could not be checked.

    Example: fleet lint inventory/prod.py --assume cores=8,memory=16G,gpus=1
    """
    try:
        linted = linting.run(file, assume=assume, python=python, load_app=not no_app, say=say)
    except FleetError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except OSError as error:  # 1 would say that a rule found an error
        typer.echo(f"{error.filename or file}: {error.strerror or error}", err=True)
        raise typer.Exit(2) from None
    # What is left out says nothing about whether it has been mended.
    settings = f"lint{' --assume' if assume is not None else ''}{' --no-app' if no_app else ''}"
    looks = {settings: linted.findings}
    if assume is None:
        of_broker, asked = _look(linted)
        looks["broker" if asked else "no broker"] = of_broker
    findings = _marked(file, looks, whole=not linted.silent)
    if as_json:
        typer.echo(json.dumps(report.as_json(linted.plan, findings), indent=1))
    else:
        report.show(linted.plan, findings, Console(), verbose, strict)
    raise typer.Exit(1 if any(finding.counts if strict else finding.is_error for finding in findings) else 0)


def _look(linted: Linted) -> tuple[tuple[Finding, ...], bool]:
    """What of the broker a run would leave behind, and whether the broker could be asked. If not, that is noted."""
    fleet = linted.plan.fleet
    try:
        if set(between := connect.jump_hosts(fleet)) <= set(linted.silent):
            raise FleetError(f"{enumerate_briefly(between)} did not answer")
        if not Path(fleet.settings.secrets_file).exists():
            raise FleetError("there is no secrets file")
        known, hosts = endpoint.broker_secrets(fleet), linted.inventory.hosts
        with connect.reached(hosts, fleet, known) as way:
            worker, monitor = (endpoint.broker(fleet, known, user, way=way) for user in endpoint.USERS)
            server = preflight.ask_server(worker.url, linted.plan)
            of_server = preflight.as_findings(preflight.judge_server(server, linted.plan))
            of_server += preflight.as_findings(preflight.ask_results(hosts, fleet, known))
            with connect.management(hosts, fleet, monitor) as management:
                view = look(worker.url, linted.plan.consumers, management=management)
    except RefusedError as error:
        # Of the fleet's own, the next deploy sets the passwords and the certificate.
        level: Level = "error" if fleet.own_broker is None else "note"
        return (Finding("preflight", level, "broker", str(error).splitlines()[0], of_run=True),), False
    except FleetError as error:
        note = f"not asked what waits in it: {str(error).splitlines()[0]}"
        return (Finding("preflight", "note", "broker", note, of_run=True),), False
    verdict = preflight.judge_broker(view, linted.plan, preflight.names_of(fleet.hosts))
    leftovers = preflight.judge_leftovers(preflight.units_alive(view, fleet.hosts), linted.plan)
    return (*of_server, *preflight.as_findings(verdict + leftovers)), True


def _marked(file: Path, looks: dict[str, tuple[Finding, ...]], whole: bool) -> tuple[Finding, ...]:
    """What all looks have found, each with whether it is new; kept for the next run."""
    reported, unread = news.read(file)
    findings = news.mark((finding for look in looks.values() for finding in look), reported)
    unwritten = news.write(file, news.remember(reported, looks, whole))
    return (*findings, *linting.notes_on_files(unread, unwritten))
