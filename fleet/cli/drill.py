"""`fleet drill …`: the commands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleet.broker import connect
from fleet.drill import fault as fault_drill
from fleet.drill import faults, report, rollout
from fleet.drill.errors import DrillError
from fleet.inventory.ask import ask_machines
from fleet.inventory.read import read_inventory
from fleet.plan import facts
from fleet.plan.plan import Plan, resolved
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet

app = typer.Typer(help="Try the fleet's promises on the fleet itself.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file, e.g. inventory/lab.py.")]
GroupData = Annotated[Path | None, typer.Option(help="More group data, as pyinfra's --group-data.", exists=True, file_okay=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask, on machines that are not this one's own lab.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("roll")
def drill_roll(
    file: File,
    phases: Annotated[
        str, typer.Option(metavar="NAMES", help=f"Which of these, in this order: {', '.join(rollout.PHASES)}.")
    ] = ",".join(rollout.PHASES),
    group_data: GroupData = None,
    before: Annotated[
        float, typer.Option(help="Seconds of load before the first phase, and after the last.", min=0, max=3600)
    ] = 20,
    log: Annotated[Path, typer.Option(help="Where pyinfra's output goes.")] = Path("drill.log"),
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Deploy, restart and roll back under a steady load of numbered tasks, with good releases and bad ones, and account for each.

    The tasks are of this project's own (fleet.drill); yours are not sent. The phase "fails every task" fails yours, too, on one
    worker for some seconds: leave it out on production. Where a phase has brought another release, the last one is "as before",
    which brings back what the sources make. Exit code: 1 where a task was lost or run twice, or a phase did not go as it should;
    2 where the drill itself was cut off.

    Example: fleet drill roll inventory/lab.py --phases release,restart,rollback
    """
    from fleet.drill import load  # it imports Celery, which no other command waits for

    names = rollout.complete([name.strip() for name in phases.split(",") if name.strip()])
    found = read_inventory(file, group_data)
    fleet = load_fleet(found)
    if set(names) & set(rollout.BROKEN):
        rollout.module_of(Path(fleet.settings.app_source), fleet.settings.celery_app)
    log.write_text("")
    _confirm(file, found, yes, f"restarts its workers ({', '.join(names)})")
    plan = _plan(fleet, found)
    more = ["--group-data", str(group_data)] if group_data else []
    cut_off = rollout.CUT_OFF.format(file)
    with _told(fleet, cut_off), connect.broker(found, fleet) as urls:
        started = time.monotonic()
        with load.Producer(urls["CELERY_BROKER_URL"], urls["CELERY_RESULT_BACKEND"], load.mix(plan)) as sending:
            done = rollout.roll(rollout.Runs(file, plan, found.hosts, more, log, say), sending, names, before)
            sending.stop()
            say("waiting for what was sent …")
            sending.wait_until_finished(rollout.PATIENCE)
            said = rollout.report(sending, done, time.monotonic() - started)
    if as_json:
        typer.echo(json.dumps(said))
    else:
        report.show(said, Console())
    wrong = said["lost"] or said["run_twice"] or any(phase.went_wrong for phase in done)
    raise typer.Exit(1 if wrong else 0)


def _add(fault: faults.Fault) -> None:
    """`fleet drill <fault>`."""

    def drill_fault(
        file: File,
        role: Annotated[str | None, typer.Option(help="The role whose worker or machine it befalls.", metavar="NAME")] = None,
        group_data: GroupData = None,
        before: Annotated[float, typer.Option(help="Seconds of load before the fault, and after.", min=0, max=3600)] = 15,
        yes: Yes = False,
        as_json: Json = False,
    ) -> None:
        from redis import Redis

        from fleet.drill import load

        found = read_inventory(file, group_data)
        fleet = load_fleet(found)
        _confirm(file, found, yes, fault.does)
        plan = _plan(fleet, found)
        place = fault_drill.place_of(fault, plan, role)
        cut_off = "what it broke ends by itself" if fault.lasts else "what it broke systemd brings back"
        with _told(fleet, cut_off), connect.broker(found, fleet) as urls:
            started = time.monotonic()
            sending = load.Producer(urls["CELERY_BROKER_URL"], urls["CELERY_RESULT_BACKEND"], load.mix(plan), outages=True)
            with sending, Redis.from_url(urls["CELERY_BROKER_URL"], decode_responses=True, socket_timeout=30) as redis:
                ground = fault_drill.Ground(plan, found.hosts, sending, redis, say)
                # What a killed worker held comes back after the visibility timeout, and no sooner.
                patience = rollout.PATIENCE + (plan.visibility_timeout or 3600)
                said = fault_drill.run(fault, ground, place, before, patience)
            said["seconds"] = round(time.monotonic() - started, 1)
        if as_json:
            typer.echo(json.dumps(said))
        else:
            report.show_fault(said, Console())
        raise typer.Exit(1 if said["lost"] or said["went_wrong"] else 0)

    within = "the visibility timeout" if fault.kills else f"{fault_drill.BACK_WITHIN:.0f} s"
    app.command(
        fault.name,
        short_help=f"{fault.does[0].upper()}{fault.does[1:]}.",
        help=f"It {fault.does}, under a steady load of numbered tasks (this project's own; yours are not sent), and says how "
        "many were lost or run twice, how long it took until every worker that it befell had begun a task again, and what "
        "restarted. Exit code: 1 where a task was lost, or a worker was not back within "
        f"{within} of the fault's end; 2 where the drill itself was cut off.\n\n"
        f"Example: fleet drill {fault.name} inventory/lab.py --json",
    )(drill_fault)


for _fault in faults.FAULTS.values():
    _add(_fault)


def say(line: str) -> None:
    """Progress, on stderr."""
    typer.echo(line, err=True)


def _confirm(file: Path, found: Inventory, yes: bool, does: str) -> None:
    if not rollout.is_local(found.hosts) and not yes:
        typer.confirm(f"{file} is no lab of this machine. The drill {does}. Go on?", abort=True, err=True)


def _plan(fleet: Fleet, found: Inventory) -> Plan:
    try:
        return resolved(fleet, ask_machines(found.hosts, lambda _: None))
    except facts.FactsError as error:  # whose advice is fleet lint's
        raise DrillError(str(error).partition("offline, say")[0].rstrip()) from None


@contextmanager
def _told(fleet: Fleet, cut_off: str) -> Iterator[None]:
    """A drill that is cut off says what it leaves. Raises DrillError where the broker does not answer."""
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    try:
        yield
    except (OperationalError, RedisError) as error:
        raise DrillError(f"{fleet.broker_host}: the broker does not answer: {error}; {cut_off}") from None
    except KeyboardInterrupt:
        say(f"\ninterrupted; {cut_off}")
        raise
