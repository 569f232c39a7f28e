"""`fleet record`."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.cli.arguments import InventoryFile, looking, say
from fleet.observe.report.record import MACHINES_EVERY, record, sampler
from fleet.observe.report.recording import Header
from fleet.observe.report.recording_file import RecordingFile


def record_fleet(
    file: InventoryFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write; a recording of the same fleet goes on.")
    ] = Path("recording.jsonl"),
    seconds: Annotated[
        float | None, typer.Option("--seconds", "--for", help="How long to record; until Ctrl-C if it is left out.", min=0)
    ] = None,
    interval: Annotated[float, typer.Option(help="Seconds between two samples.", min=1, max=3600)] = 10.0,
    megabytes: Annotated[int, typer.Option(help="How large the file gets; then its older half goes.", min=1)] = 100,
) -> None:
    """Record a fleet that has no Prometheus: its queues and workers every few seconds, the memory of its workers every minute.

    `fleet report INVENTORY --from recording.jsonl` makes a page of it. A day of 20 queues and 50 workers takes about 30 MB.
    Nothing is changed on the fleet. If the broker is away, that is a sample too, and recording goes on.

    Exit code: 0, also after Ctrl-C; 2 if the settings are wrong, or the file is another fleet's or cannot be written.

    Example: fleet record inventory/prod.py -o recording.jsonl --for 3600
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with looking():
        of = sampler(file)
        writing = RecordingFile(output, Header(of.name, interval, MACHINES_EVERY), megabytes << 20)
    most = f"{megabytes} MB at most"
    say(f"recording to {output}, a sample every {interval:g} s, {most}; Ctrl-C ends it")
    samples = 0

    def show(entry: Mapping[str, Any]) -> None:
        nonlocal samples
        samples += 1
        at = datetime.fromtimestamp(entry["t"], UTC).strftime("%H:%M:%SZ")
        say(f"{at} sample {samples}, {writing.size / (1 << 20):.1f} MB: {_summary(entry)}")

    try:
        with looking():
            record(of, writing, interval, seconds, show)
    except KeyboardInterrupt:
        pass
    finally:
        say(f"{output}: {samples} samples, {writing.size / (1 << 20):.1f} MB")
        writing.close()


def _summary(entry: Mapping[str, Any]) -> str:
    if "away" in entry:
        return f"the broker is away: {entry['away']}"
    waiting = sum(values[0] for values in entry["q"].values())
    if "w" not in entry:
        return f"{waiting} waiting; the workers were not asked"
    busy, silent = 0, 0
    for values in entry["w"].values():
        busy += values[0] if values else 0
        silent += values is None
    return f"{waiting} waiting, {busy} running, {len(entry['w']) - silent} of {len(entry['w'])} workers alive"
