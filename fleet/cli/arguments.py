"""Arguments and options that several commands share, and progress on stderr."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

InventoryFile = Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file, e.g. inventory/prod.py.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def say(line: str) -> None:
    """Print progress, on stderr."""
    typer.echo(line, err=True)
