"""Arguments and options that several commands share, and progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fleet.errors import FleetError
from fleet.spec.text import printable

InventoryFile = Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file, e.g. inventory/prod.py.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
KubeConfig = Annotated[
    Path | None,
    typer.Option(
        help="Look at the fleet in a cluster, through kubectl: its kubeconfig, whose current context counts.", metavar="FILE"
    ),
]
Namespace = Annotated[str, typer.Option(help="With --kubeconfig: the fleet's namespace.", metavar="NAME")]


@contextmanager
def looking(asked: str = "") -> Iterator[None]:
    """Ends a command with exit code 2 if nothing can be looked at: 1 says that something is not as it should be. asked: who is
    asked, which may take long; a user at a terminal is told."""
    if asked and sys.stderr.isatty():
        say(f"asking {asked} …")
    try:
        yield
    except FleetError as error:
        say(str(error))
        raise typer.Exit(2) from None


def say(line: str) -> None:
    """Print progress, or a problem, on stderr."""
    typer.echo("\n".join(map(printable, line.split("\n"))), err=True)
