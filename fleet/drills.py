"""`fleet drill …`: the commands."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleet import drill, drill_report, facts, inventory, secrets, spec
from fleet.plan import resolved
from fleet.tunnel import forward
from fleet.urls import celery_variables

app = typer.Typer(help="Try the fleet's promises on the fleet itself.", no_args_is_help=True)


@app.callback()
def _drills() -> None:
    """Keep `fleet drill` a group of commands."""


@app.command("roll")
def drill_roll(
    file: Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file, e.g. inventory/lab.py.")],
    phases: Annotated[
        str, typer.Option(metavar="NAMES", help=f"Which of these, in this order: {', '.join(drill.PHASES)}.")
    ] = ",".join(drill.PHASES),
    group_data: Annotated[
        Path | None, typer.Option(help="More group data, as pyinfra's --group-data.", exists=True, file_okay=False)
    ] = None,
    before: Annotated[
        float, typer.Option(help="Seconds of load before the first phase, and after the last.", min=0, max=3600)
    ] = 20,
    log: Annotated[Path, typer.Option(help="Where pyinfra's output goes.")] = Path("drill.log"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, on machines that are not this one's own lab.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Deploy, restart and roll back under a steady load of numbered tasks, with good releases and bad ones, and account for each.

    The tasks are of this project's own (fleet.drill); yours are not sent. The phase "fails every task" fails yours, too, on one
    worker for some seconds: leave it out on production. Where a phase has brought another release, the last one is "as before",
    which brings back what the sources make. Exit code: 1 where a task was lost or run twice, or a phase did not go as it should;
    2 where the drill itself was cut off.

    Example: fleet drill roll inventory/lab.py --phases release,restart,rollback
    """
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    from fleet import producer  # it imports Celery, which no other command waits for

    names = drill.complete([name.strip() for name in phases.split(",") if name.strip()])
    found = inventory.read(file, group_data)
    fleet = spec.load(found)
    if set(names) & set(drill.BROKEN):
        drill.module_of(Path(fleet.settings.app_source), fleet.settings.celery_app)
    path = Path(fleet.settings.secrets_file)
    password = secrets.read(path)
    secrets.require(path, password, [secrets.BROKER_WORKER])
    log.write_text("")
    if not drill.is_local(found.hosts) and not yes:
        typer.confirm(f"{file} is no lab of this machine. Restart its workers ({', '.join(names)})?", abort=True, err=True)
    try:
        plan = resolved(fleet, facts.ask(found.hosts, lambda _: None))
    except facts.FactsError as error:  # whose advice is fleet lint's
        raise drill.DrillError(str(error).partition("offline, say")[0].rstrip()) from None
    broker = found.hosts[fleet.broker_host]
    more = ["--group-data", str(group_data)] if group_data else []
    try:
        with forward(fleet.broker_host, broker, fleet.broker_address, fleet.broker.port) as port:
            urls = celery_variables(password[secrets.BROKER_WORKER], f"127.0.0.1:{port}")
            started = time.monotonic()
            kinds = producer.mix(plan)
            with producer.Producer(urls["CELERY_BROKER_URL"], urls["CELERY_RESULT_BACKEND"], kinds) as sending:
                done = drill.roll(drill.Runs(file, plan, found.hosts, more, log, say), sending, names, before)
                sending.stop()
                say("waiting for what was sent …")
                sending.wait_until_finished(drill.PATIENCE)
                said = drill.report(sending, done, time.monotonic() - started)
    except (OperationalError, RedisError) as error:
        raise drill.DrillError(
            f"{fleet.broker_host}: the broker does not answer: {error}; {drill.CUT_OFF.format(file)}"
        ) from None
    except KeyboardInterrupt:
        say(f"\ninterrupted; {drill.CUT_OFF.format(file)}")
        raise
    if as_json:
        typer.echo(json.dumps(said))
    else:
        drill_report.show(said, Console())
    wrong = said["lost"] or said["run_twice"] or any(phase.went_wrong for phase in done)
    raise typer.Exit(1 if wrong else 0)


def say(line: str) -> None:
    """Progress, on stderr."""
    typer.echo(line, err=True)
