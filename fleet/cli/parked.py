"""`fleet parked …`: the commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer

from fleet.broker import connect, parked
from fleet.broker.port import Port
from fleet.cli.arguments import InventoryFile
from fleet.inventory.read import read_inventory
from fleet.spec.load import load_fleet

app = typer.Typer(
    help="Look at parked tasks (dead letters): tasks that took their worker down again and again, or that no worker knows.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID…", help="Ids of tasks, or their beginnings.")]
Task = Annotated[str | None, typer.Option(help="Every parked task of this name.", metavar="NAME")]
All = Annotated[bool, typer.Option("--all", help="Every parked task.")]


@app.command("list")
def list_parked(
    file: InventoryFile, as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False
) -> None:
    """List the parked tasks, the longest parked first, with their arguments and the reason.

    Exit code: 0, or 1 if the broker does not answer.

    Example: fleet parked list inventory/prod.py
    """
    with _broker(file) as broker:
        tasks = broker.letters()
    for task in tasks:
        shown = {name: value for name, value in task.items() if name not in ("field", "key", "message")}
        typer.echo(json.dumps(shown) if as_json else parked.describe(task))
    if not tasks and not as_json:
        typer.echo("nothing is parked")


@app.command()
def requeue(file: InventoryFile, ids: Ids = None, task: Task = None, everything: All = False) -> None:
    """Send parked tasks again, to the queue that they came from, as if they had never been tried.

    Exit code: 0; 1 if a task has expired and stays parked, or the broker does not answer.

    Example: fleet parked requeue inventory/prod.py --task shop.tasks.reports.hold_memory
    """
    with _broker(file) as broker:
        chosen = parked.chosen(broker.letters(), ids or (), everything, task)
        late = {letter["field"]: since for letter in chosen if (since := parked.expired(letter, datetime.now(UTC)))}
        count = broker.requeue([letter for letter in chosen if letter["field"] not in late])
    typer.echo(f"sent again: {count}")
    for letter in chosen:
        if letter["field"] in late:
            reason = f"it expired at {late[letter['field']]}, and a worker would throw it away"
            typer.echo(f"not sent: {letter['id']} {letter['task']}: {reason}", err=True)
    if late:
        raise typer.Exit(1)


@app.command()
def drop(file: InventoryFile, ids: Ids = None, task: Task = None, everything: All = False) -> None:
    """Throw parked tasks away. `fleet parked list --json` shows their arguments.

    Exit code: 0, or 1 if the broker does not answer.

    Example: fleet parked drop inventory/prod.py 1f9d2b7c
    """
    with _broker(file) as broker:
        count = broker.drop(parked.chosen(broker.letters(), ids or (), everything, task))
    typer.echo(f"dropped: {count}")


@contextmanager
def _broker(file: InventoryFile) -> Iterator[Port]:
    """The fleet's broker, through SSH. Raises UnreachedError if it does not answer."""
    inventory = read_inventory(file)
    with connect.read_session(inventory, load_fleet(inventory)) as port:
        yield port
