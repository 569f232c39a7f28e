"""`fleet report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.arguments import InventoryFile, looking, say
from fleet.errors import FleetError


def report_fleet(
    file: InventoryFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("report.html"),
    source: Annotated[
        Path | None, typer.Option("--from", help="A recording of fleet record; Prometheus if it is left out.")
    ] = None,
    hours: Annotated[float, typer.Option(help="How many hours back.", min=0.01, max=24 * 60)] = 6.0,
) -> None:
    """Write a page about the last hours: how long tasks waited, throughput, load and memory, with rollouts and faults as marks.

    The page is one file of at most 300 kB that asks for nothing from elsewhere: send it, or print it. Its numbers come from
    Prometheus on the machine of the inventory's group monitor, or from a recording. Times are in UTC.

    Exit code: 0; 2 if there is neither Prometheus nor a recording, or the page cannot be written.

    Example: fleet report inventory/prod.py -o report.html
    """
    from fleet.observe.report.report import report  # no other command needs it

    with looking():
        page = report(file, source, hours)
        try:
            output.write_bytes(page)
        except OSError as error:
            raise FleetError(f"{output}: {error.strerror}") from None
    say(f"{output}: {len(page) / 1000:.0f} kB")
