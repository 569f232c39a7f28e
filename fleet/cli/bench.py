"""`fleet bench`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fleet.broker import connect
from fleet.broker.workers import ask_workers
from fleet.cli.arguments import Json, say
from fleet.cli.bench_report import as_json, comparison_lines, lines
from fleet.drill.context import is_local
from fleet.drill.reached import reached
from fleet.errors import FleetError
from fleet.inventory.ask import ask_machines
from fleet.inventory.read import read_inventory
from fleet.observe.broker import expected_of
from fleet.plan.plan import resolved
from fleet.spec.load import load_fleet
from fleet.spec.text import did_you_mean

if TYPE_CHECKING:
    from fleet.capacity.bench.arrivals import Work
    from fleet.capacity.bench.run import Result, Settings

WORKS = ("noop", "io", "cpu")


class BenchArgumentError(FleetError):
    """Arguments that do not go together. str() says what to write."""


def bench_fleet(
    file: Annotated[Path | None, typer.Argument(metavar="INVENTORY", help="A fleet whose workers run.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Start Redis and a worker on this machine.")] = False,
    flags: Annotated[
        str, typer.Option(help="Of the worker of --local, as `celery worker` takes them.", metavar="FLAGS")
    ] = "-P prefork -c 2",
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            help="With --local: workers with these flags and with those, in turns. The word plain before flags: `celery worker` "
            "as it comes.",
            metavar="FLAGS FLAGS",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Of --compare.", min=1, max=20)] = 3,
    role: Annotated[str | None, typer.Option(help="Only this role.", metavar="ROLE")] = None,
    work: Annotated[
        str, typer.Option(help="Kinds of tasks: noop does nothing, io waits, cpu computes.", metavar="KINDS")
    ] = "noop,io,cpu",
    task_seconds: Annotated[
        float, typer.Option(help="That a task of io or cpu takes.", min=0.001, max=60, metavar="SECONDS")
    ] = 0.05,
    tasks: Annotated[
        int | None,
        typer.Option(help="Send so many at once, and see how long all take. Without it, the rate rises.", min=1, max=100_000),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long a rate lasts.", min=1, max=120, metavar="SECONDS")] = 5,
    objective: Annotated[
        float, typer.Option(help="That 95 of 100 tasks may wait, for a rate to be carried.", min=0.01, max=60, metavar="SECONDS")
    ] = 0.5,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before loading other machines than this one's lab.")] = False,
    page: Annotated[Path | None, typer.Option(help="Write a page with charts.", metavar="FILE")] = None,
    as_json_: Json = False,
) -> None:
    """Measure how many tasks a fleet carries, and how long they take.

    Tasks of our own come to queues of their own (fleet.bench.ROLE), which the workers consume meanwhile, beside their work. They
    come by chance and whether or not those before have ended, at a rate that rises until 95 of 100 wait longer than they may.
    Each is accounted for, and what is left in the end is deleted.

    Exit code: 0; 1 if a task was lost, or an argument is wrong; 2 if workers or the broker do not answer.

    Example: fleet bench inventory/lab.py --role web --work noop,io
    """
    settings = _settings(work, seconds, task_seconds, objective)
    if (file is None) != local:
        raise BenchArgumentError("name an inventory, or --local; not both" if local else "name an inventory, or say --local")
    if compare and not local:
        raise BenchArgumentError("--compare starts workers, so it is for --local")
    if compare:
        _compare(compare, settings, tasks, rounds, as_json_)
        return
    if file is None:
        from fleet.capacity.bench.compare import measured_here

        results = measured_here(flags, settings, tasks, say)
    else:
        results = _of_fleet(file, role, settings, tasks, yes)
    if page:
        from fleet.capacity.bench.page import page as page_of

        page.write_text(page_of(results, list(lines(results)), objective))
    typer.echo(json.dumps(as_json(results)) if as_json_ else "\n".join(lines(results)))
    raise typer.Exit(1 if any(step.lost for result in results for step in result.all_steps) else 0)


def _settings(work: str, seconds: float, task_seconds: float, objective: float) -> Settings:
    from fleet.capacity.bench.run import Settings

    works = [name.strip() for name in work.split(",") if name.strip()]
    unknown = next((name for name in works if name not in WORKS), "" if works else "nothing")
    if unknown:
        raise BenchArgumentError(f"--work {work}: {unknown} is none of {', '.join(WORKS)}")
    return Settings(cast("Sequence[Work]", works), seconds, task_seconds, objective)


def _compare(flags: tuple[str, str], settings: Settings, tasks: int | None, rounds: int, as_json_: bool) -> None:
    from fleet.capacity.bench.compare import compare

    compared = compare(flags, settings, tasks, rounds, say)
    typer.echo(json.dumps([of.as_json() for of in compared]) if as_json_ else "\n".join(comparison_lines(compared)))
    raise typer.Exit(1 if any(of.lost for of in compared) else 0)


def _of_fleet(file: Path, role: str | None, settings: Settings, tasks: int | None, yes: bool) -> list[Result]:
    from amqp.exceptions import AMQPError
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    from fleet.capacity.bench.bench import Bench, BenchError
    from fleet.capacity.bench.run import measured
    from fleet.capacity.bench.target import target_of

    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    plan = resolved(fleet, ask_machines(inventory.hosts, lambda _: None))
    if role and role not in plan.roles:
        raise BenchArgumentError(f"--role: no role {role}; {did_you_mean(role, plan.roles) or ', '.join(plan.roles)}")
    roles = {role: plan.roles[role]} if role else plan.roles
    if not is_local(inventory.hosts) and not yes:
        question = f"{file} is no lab of this machine. Workers of {', '.join(roles)} get tasks until some wait, yours too. Go on?"
        typer.confirm(question, abort=True, err=True)
    with connect.read_session(inventory, fleet) as port:
        signs = ask_workers(port, expected_of(plan).nodes)
    targets = [target_of(plan, role, signs) for role in roles]
    nodes = {target.role: target.nodes for target in targets}
    try:
        with reached(inventory, fleet) as there, Bench(there.broker, there.ledger or there.broker, nodes) as bench:
            return list(measured(bench, targets, settings, tasks, say))
    except (OperationalError, RedisError, AMQPError) as error:
        raise BenchError(f"{fleet.broker_name}: the broker does not answer: {error}") from None
