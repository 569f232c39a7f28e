"""`fleet parked …`: the commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from redis import Redis, RedisError

from fleet.broker import connect, parked
from fleet.inventory.read import read_inventory
from fleet.spec.load import load_fleet

app = typer.Typer(
    help="Tasks that were put aside: they took their worker down again and again, or no worker had them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
File = Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file, e.g. inventory/prod.py.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID…", help="Ids, or their beginnings.")]
Task = Annotated[str | None, typer.Option(help="All of one task.", metavar="NAME")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


@app.command("list")
def list_parked(file: File, as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False) -> None:
    """List them, the longest parked first, with arguments and reason.

    Example: fleet parked list inventory/prod.py
    """
    with _broker(file) as broker:
        found = parked.read(broker)
    for one in found:
        shown = {name: value for name, value in one.items() if name not in ("field", "key", "message")}
        typer.echo(json.dumps(shown) if as_json else parked.told(one))
    if not found and not as_json:
        typer.echo("nothing is parked")


@app.command()
def requeue(file: File, ids: Ids = None, task: Task = None, everything: All = False) -> None:
    """Send them again, to the queue that they came from, as if they had never been tried.

    Example: fleet parked requeue inventory/prod.py --task shop.tasks.reports.hold_memory
    """
    with _broker(file) as broker:
        meant = parked.chosen(parked.read(broker), ids or (), everything, task)
        late = {one["field"]: since for one in meant if (since := parked.expired(one, datetime.now(UTC)))}
        count = parked.requeue(broker, (one for one in meant if one["field"] not in late))
    typer.echo(f"sent again: {count}")
    for one in meant:
        if one["field"] in late:
            said = f"it expired at {late[one['field']]}, and a worker would throw it away"
            typer.echo(f"not sent: {one['id']} {one['task']}: {said}", err=True)
    if late:
        raise typer.Exit(1)


@app.command()
def drop(file: File, ids: Ids = None, task: Task = None, everything: All = False) -> None:
    """Throw them away. `fleet parked list --json` shows what they were.

    Example: fleet parked drop inventory/prod.py 1f9d2b7c
    """
    with _broker(file) as broker:
        count = parked.drop(broker, parked.chosen(parked.read(broker), ids or (), everything, task))
    typer.echo(f"dropped: {count}")


@contextmanager
def _broker(file: Path) -> Iterator[Redis]:
    """The fleet's broker, through SSH."""
    found = read_inventory(file)
    fleet = load_fleet(found)
    with connect.broker(found, fleet) as urls:
        try:
            with Redis.from_url(urls["CELERY_BROKER_URL"], decode_responses=True, socket_timeout=30) as redis:
                yield redis
        except RedisError as error:
            raise parked.ParkedError(f"{fleet.broker_host}: the broker does not answer: {error}") from None
