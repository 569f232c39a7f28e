"""The file that `fleet record` writes: one JSON object a line. Its format, and how it is read.

A line with "fleet-recording" says of which fleet the samples after it are, and how often they were taken. A sample has the time
"t", in seconds since 1970, and:

- "q": queue → [waiting, oldest waits at least, at most, running, prefetched, ETA, orphaned, consumers, in a second, begun a
  second, dead letters];
- "w": node → [running, slots, started at], or null for a worker that the settings ask for and that is silent;
- "f": [queue, task, exception, number] of tasks that failed since the sample before;
- "m": node → [memory, most memory, processes killed for memory], of machines that were asked, less often;
- "away": why the broker was not asked. Then there is nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.errors import FleetError
from fleet.observe.report.resample import Resampler
from fleet.observe.report.timeline import (
    Timeline,
    grid,
    moment,
)

VERSION = 1
MARK = "fleet-recording"
_TAIL = 1 << 22
"""Bytes at the end of a file in which its last sample is looked for: longer than any line."""


class RecordingError(FleetError):
    """A file that is no recording, or cannot be used."""

    exit_code = 2


@dataclass(frozen=True)
class Header:
    """fleet: what tells it from others. interval, machines_every: seconds between samples, and between looks at machines."""

    fleet: str
    interval: float
    machines_every: float

    def line(self) -> str:
        """As it stands in the file."""
        entry = {MARK: VERSION, "fleet": self.fleet, "interval": self.interval, "machines_every": self.machines_every}
        return json.dumps(entry, separators=(",", ":"))


def parse_header(path: Path, line: str) -> Header:
    """Raises RecordingError."""
    try:
        entry = json.loads(line)
        version = entry[MARK]
        header = Header(str(entry["fleet"]), float(entry["interval"]), float(entry["machines_every"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        version, header = _version(line), None
    if version is not None and version != VERSION:
        raise RecordingError(f"{path}: a recording of version {version}; this celery-fleet reads version {VERSION}")
    if header is None or not (0 < header.interval < 1e6 and 0 < header.machines_every < 1e6):
        raise RecordingError(f"{path}: no recording of fleet record")
    return header


def _version(line: str) -> Any:
    try:
        entry = json.loads(line)
        return entry.get(MARK) if isinstance(entry, dict) else None
    except (ValueError, RecursionError):
        return None


def read_header(path: Path) -> Header:
    """The first header of a file. Raises RecordingError, also if there is no such file."""
    if path.is_fifo():
        raise RecordingError(f"{path}: a pipe, which cannot be read twice; write it to a file first")
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            first = file.readline(1 << 20)
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from None
    if not first:
        raise RecordingError(f"{path}: an empty file, and no recording of fleet record")
    return parse_header(path, first)


def read(path: Path, hours: float) -> Timeline:
    """The last hours of a recording, up to its last sample. Lines that are cut short are left out. Raises RecordingError."""
    header = read_header(path)
    first, last = _first_time(path), _last_time(path)
    if first is None or last is None:
        raise RecordingError(f"{path}: there is no sample in it yet")
    start = last - hours * 3600
    if first <= last:  # else the clock was put back meanwhile
        start = max(first, start)
    resampler = Resampler(grid(start, last + header.interval, header.interval))
    for entry, current in _samples(path, header):
        if start <= entry["t"] <= last:
            resampler.take(entry, current.interval, current.machines_every)
    return resampler.timeline(f"the recording {path.name}")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if entry := _object(line):
                yield entry


def _object(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _samples(path: Path, header: Header) -> Iterator[tuple[dict[str, Any], Header]]:
    """Every sample, and the header that it follows."""
    for entry in _lines(path):
        if MARK in entry:
            header = parse_header(path, json.dumps(entry))
        elif moment(entry.get("t")) is not None:
            yield entry, header


def _first_time(path: Path) -> float | None:
    return next((at for entry in _lines(path) if (at := moment(entry.get("t"))) is not None), None)


def _last_time(path: Path) -> float | None:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        lines = file.read().decode("utf-8", "replace").splitlines()
    times = ((_object(line) or {}).get("t") for line in reversed(lines))
    return next((at for time in times if (at := moment(time)) is not None), None)
