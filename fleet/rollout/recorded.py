"""What is done to a fleet besides its runs: under the fleet's lock, with a line in its history."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.errors import FleetError
from fleet.rollout import lock


@dataclass
class Record:
    """A line of the history, while it is written. errors: if there are any, it has failed. others: further fields of a
    HistoryEntry. taken_over: see `lock.acquire`."""

    taken_over: str = ""
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    others: dict[str, Any] = field(default_factory=dict)


@contextmanager
def recorded(what: str, host: str, data: Mapping[str, Any], inventory: Path, stamp: str | None = None) -> Iterator[Record]:
    """Hold the fleet's lock, and record how it ended: failed if a FleetError was raised, interrupted if something else was.

    what: the words of the history. host, data: where lock and history are. stamp: see `lock.acquire`. Raises LockError if a run
    is at work, or the lock could not be given back.
    """
    content, began = lock.describe_run(what), time.monotonic()
    record = Record(lock.acquire(host, data, content, str(inventory), stamp))
    outcome = "interrupted"
    try:
        yield record
        outcome = "failed" if record.errors else "done"
    except FleetError as error:
        outcome = "failed"
        record.errors.append(str(error))
        raise
    finally:
        took = round(time.monotonic() - began, 1)
        entry = {"outcome": outcome, "seconds": took, "errors": record.errors, "notes": record.notes}
        lock.release(host, data, content, {**content, **entry, **record.others})
