"""`fleet …`: what is done from the control machine besides deploying."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.broker import connect as reach
from fleet.cli import drill as drills
from fleet.cli import parked
from fleet.errors import FleetError
from fleet.inventory.read import read_inventory
from fleet.lint import report
from fleet.lint import run as linting
from fleet.rollout import lock
from fleet.spec import secrets
from fleet.spec.load import load_fleet
from lab.cli import app as lab_app

app = typer.Typer(
    help="Run Celery on plain machines. Deploying is pyinfra's: pyinfra inventory/prod.py deploy.py",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(lab_app, name="lab")
app.add_typer(drills.app, name="drill")
app.add_typer(parked.app, name="parked")


@app.callback()
def _main() -> None:
    """Keep `fleet` a group of commands."""


@app.command("secrets")
def make_secrets(
    file: Annotated[Path, typer.Argument(help="The secrets file, e.g. secrets/prod.env.")],
) -> None:
    """Add what the broker needs, freshly generated, to a secrets file that only you can read.

    Example: fleet secrets secrets/prod.env
    """
    added = secrets.ensure(file)
    typer.echo(f"{file}: added {', '.join(added)}" if added else f"{file}: has all that the broker needs")


@app.command(context_settings={"ignore_unknown_options": True})
def connect(
    file: Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file, e.g. inventory/lab.py.")],
    command: Annotated[list[str], typer.Argument(help="The command to run, after --.")],
) -> None:
    """Run a command on this machine, connected to the fleet's broker through SSH.

    It finds CELERY_BROKER_URL and CELERY_RESULT_BACKEND in its environment, and the app's source on PYTHONPATH (what the app
    imports has to be installed here). Its exit code is ours.

    Example: fleet connect inventory/lab.py -- celery -A shop.app inspect active
    """
    found = read_inventory(file)
    fleet = load_fleet(found)
    with reach.broker(found, fleet) as urls:
        sources = os.pathsep.join(filter(None, [str(Path(fleet.settings.app_source).resolve()), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, **urls, "PYTHONPATH": sources}
        try:
            code = subprocess.run(command, env=environment, check=False).returncode
        except FileNotFoundError:
            raise FleetError(f"{command[0]}: no such command") from None
    raise typer.Exit(code if code >= 0 else 128 - code)


@app.command("lint")
def lint_fleet(
    file: Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file, e.g. inventory/prod.py.")],
    assume: Annotated[
        str | None,
        typer.Option(help="Ask no machine: take every one for this, e.g. cores=8,memory=16G,gpus=1.", metavar="FACTS"),
    ] = None,
    python: Annotated[
        Path | None, typer.Option(help="A Python that has what the app imports. Without, a venv is built (once, and kept).")
    ] = None,
    no_app: Annotated[bool, typer.Option("--no-app", help="Leave out the rules that look at the app: it is not loaded.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Size every worker to its machine, and check all settings against each other, before anything changes.

    Machines are asked over SSH; with --assume, none is. Exit code: 0, 1 where it found something (notes apart), 2 where it could
    not look.

    Example: fleet lint inventory/prod.py --assume cores=8,memory=16G,gpus=1
    """
    try:
        plan, findings = linting.run(file, assume=assume, python=python, load_app=not no_app, say=_say)
    except FleetError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(report.as_json(plan, findings), indent=1))
    else:
        report.show(plan, findings, Console())
    raise typer.Exit(1 if any(finding.counts for finding in findings) else 0)


@app.command()
def history(
    file: Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file, e.g. inventory/prod.py.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Say who deployed or restarted what, when, and how it ended, oldest first: what the broker's machine has kept.

    Example: fleet history inventory/prod.py
    """
    broker = _broker(file)
    runs, held = lock.read_history(*broker), lock.read_lock(*broker)
    for run in runs:
        if as_json:
            typer.echo(json.dumps(run))
            continue
        planned = f", to restart {' '.join(run['planned'])}" if run.get("planned") else ""
        release = f", release {'/'.join(run['releases'].values())}" if run.get("releases") else ""
        seconds = f", {run['seconds']} s" if "seconds" in run else ""
        rollout = " (a drill)" if run.get("drill") else ""
        outcome = run.get("outcome", "?")
        typer.echo(f"{run.get('at')}  {outcome:<11}  {run.get('what')}{rollout} by {run.get('who')}{seconds}{release}{planned}")
    if not as_json:
        if held:
            typer.echo(f"at work, or cut off: {lock.explain(held, str(file))}")
        elif not runs:
            typer.echo("no run has changed anything yet")


@app.command()
def unlock(
    file: Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file, e.g. inventory/prod.py.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also where the run is a process of this machine that is alive.")
    ] = False,
) -> None:
    """Remove the lock of a run that is not at work any more (its process was killed, its machine is gone).

    Example: fleet unlock inventory/prod.py
    """
    broker = _broker(file)
    held = lock.read_lock(*broker)
    if lock.is_at_work(held) and not force:
        raise lock.LockError(
            f"{lock.explain(held, str(file))}\nit is alive: wait for it, or end it; --force removes its lock all the same"
        )
    if not held:
        typer.echo("no run holds the lock")
        return
    lock.break_lock(*broker)
    typer.echo(f"removed the lock: {lock.explain(held, str(file)).rpartition(',')[0]}")


def _broker(file: Path) -> tuple[str, Mapping[str, Any]]:
    """The broker's host, and what the inventory says of it."""
    found = read_inventory(file)
    host = load_fleet(found).broker_host
    return host, found.hosts[host]


def _say(line: str) -> None:
    typer.echo(line, err=True)


def main() -> None:
    """The entry point: a user's mistake is a line on stderr and exit 1, never a traceback."""
    # As an exception, so that a tunnel is closed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except FleetError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except OSError as error:  # a path that is none, a folder that may not be written to
        sys.stderr.write(f"{error.filename or ''}: {error.strerror or error}\n".lstrip(": "))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
