"""`fleet history` and `fleet unlock`: the runs that the broker's machine has recorded, and the lock of one at work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, cast

import typer

from fleet.cli.arguments import InventoryFile, Json, say
from fleet.errors import FleetError
from fleet.inventory.read import read_inventory
from fleet.rollout import history, lock
from fleet.rollout.history import HistoryEntry
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet

MOVES = "/var/lib/fleet-balance/moves.jsonl"
"""On the monitor's machine."""


def show_history(
    file: InventoryFile,
    last: Annotated[bool, typer.Option("--last", help="Show the last run, step by step.")] = False,
    why: Annotated[
        bool, typer.Option("--why", help="Show why the last run that did not end well failed or was put back.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show each run: who deployed or restarted what, when, and how it ended, oldest first.

    With --json, each run is one JSON object a line; with --last or --why, one object, or null if there is no such run.

    Exit code: 0, or 1 if the broker's machine cannot be asked.

    Example: fleet history inventory/prod.py --why
    """
    if last and why:
        raise FleetError("write --last or --why, not both")
    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    broker = _records(inventory, fleet)
    entries = cast("list[HistoryEntry]", lock.read_history(*broker))
    if moves := _of_balancer(inventory, fleet):
        entries = sorted([*entries, *moves], key=lambda entry: entry["at"])
    if last or why:
        _show_run(entries, why, as_json)
        return
    held = lock.read_lock(*broker)
    for entry in entries:
        typer.echo(json.dumps(entry) if as_json else history.summary(entry))
    if as_json:
        return
    if held:
        typer.echo(f"at work, or cut off: {lock.explain(held, str(file))}")
    elif not entries:
        typer.echo("no run has changed anything yet")


def _show_run(entries: list[HistoryEntry], why: bool, as_json: bool) -> None:
    """Print the run that --last or --why asks for."""
    entry = history.last_failed(entries) if why else history.last(entries)
    if as_json:
        typer.echo(json.dumps(entry))
    elif entry is None:
        typer.echo("no run has failed" if why else "no run has changed anything yet")
    else:
        typer.echo("\n".join(history.explain_failure(entry) if why else history.explain(entry)))


def unlock(
    file: InventoryFile,
    force: Annotated[
        bool, typer.Option("--force", help="Remove the lock even if its run is a live process of this machine.")
    ] = False,
) -> None:
    """Remove the lock of a run that has ended without giving it back: its process was killed, or its machine is gone.

    Exit code: 0; 1 if the run is still alive, or the broker's machine cannot be asked.

    Example: fleet unlock inventory/prod.py
    """
    inventory = read_inventory(file)
    broker = _records(inventory, load_fleet(inventory))
    held = lock.read_lock(*broker)
    if lock.is_at_work(held) and not force:
        raise lock.LockError(
            f"{lock.explain(held, str(file))}\nit is alive: wait for it, or end it; --force removes its lock all the same"
        )
    if not held:
        typer.echo("no run holds the lock")
        return
    lock.break_lock(*broker)
    typer.echo(f"removed the lock: {lock.explain(held, str(file)).rpartition(';')[0]}")


def _of_balancer(inventory: Inventory, fleet: Fleet) -> list[HistoryEntry]:
    """The moves of the balancer on the monitor's machine, if there is one."""
    if not (fleet.monitor_host and fleet.monitor.balance):
        return []
    try:
        return cast("list[HistoryEntry]", lock.read_history(fleet.monitor_host, inventory.hosts[fleet.monitor_host], MOVES))
    except lock.LockError as error:
        say(f"without the moves of the balancer: {error}")
        return []


def _records(inventory: Inventory, fleet: Fleet) -> tuple[str, Mapping[str, Any]]:
    """The host of lock and history, and its data in the inventory."""
    return fleet.records_host, inventory.hosts[fleet.records_host]
