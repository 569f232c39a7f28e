"""`fleet connect`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from fleet.broker import connect
from fleet.cli.arguments import InventoryFile
from fleet.errors import FleetError
from fleet.inventory.read import read_inventory
from fleet.spec import secrets
from fleet.spec.load import load_fleet


def run_connected(
    file: InventoryFile,
    command: Annotated[list[str], typer.Argument(help="The command to run, after --.")],
) -> None:
    """Run a command on this machine, connected to the fleet's broker through SSH.

    The command finds CELERY_BROKER_URL and CELERY_RESULT_BACKEND in its environment, and the app's source on PYTHONPATH. A result
    backend that is no Redis has the URL that machines have. Install on this machine what the app imports.

    Exit code: the command's own, or 1 if the broker cannot be reached.

    Example: fleet connect inventory/lab.py -- celery -A shop.app inspect active
    """
    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    known = secrets.read(Path(fleet.settings.secrets_file))
    with connect.broker(inventory, fleet) as urls, connect.results_here(inventory.hosts, fleet, known) as results:
        sources = os.pathsep.join(filter(None, [str(Path(fleet.settings.app_source).resolve()), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, **urls, **results, "PYTHONPATH": sources}
        try:
            code = subprocess.run(command, env=environment, check=False).returncode
        except FileNotFoundError:
            raise FleetError(f"{command[0]}: no such command") from None
    raise typer.Exit(code if code >= 0 else 128 - code)
