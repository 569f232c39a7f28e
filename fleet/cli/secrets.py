"""`fleet secrets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.spec import secrets


def make_secrets(
    file: Annotated[Path, typer.Argument(help="The secrets file, e.g. secrets/prod.env.")],
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Generate new passwords; the broker accepts those before until you delete them.")
    ] = False,
) -> None:
    """Add the broker's passwords, freshly generated, to a secrets file that only you can read.

    Exit code: 0, or 1 if the file cannot be read or written.

    Example: fleet secrets secrets/prod.env
    """
    if rotate:
        names = secrets.rotate(file)
        typer.echo(f"{file}: new {', '.join(names)}; deploy, and then delete the lines that end in {secrets.BEFORE}=…")
        return
    added = secrets.ensure(file)
    typer.echo(f"{file}: added {', '.join(added)}" if added else f"{file}: has all that the broker needs")
