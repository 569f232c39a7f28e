"""The lock and the last runs of a fleet, as their host prints them."""

from __future__ import annotations

import json
import shlex
from typing import cast

from fleet.observe.rows import Records
from fleet.rollout.history import HistoryEntry
from fleet_node.protocol import STATE_FOLDER

ENTRIES = 50
"""Runs of the history that are read."""


def records_command(folder: str = STATE_FOLDER) -> str:
    """sh that prints the lock, and the last runs."""
    lock, runs = (shlex.quote(f"{folder}/{name}") for name in ("lock", "history.jsonl"))
    return (
        f"printf 'lock\\t%s\\n' \"$(cat {lock} 2>/dev/null)\"; tail -n {ENTRIES} {runs} 2>/dev/null | sed 's/^/run\\t/'; "
        "printf 'end\\n'"
    )


def parse_records(lines: list[str]) -> Records:
    """What it printed. Lines that are no entries are left out."""
    held, entries = "", []
    for line in lines:
        kind, _, text = line.partition("\t")
        if kind == "lock":
            held = text
        elif kind == "run":
            try:
                entry = json.loads(text)
            except ValueError:
                continue
            if isinstance(entry, dict):
                entries.append(entry)
    return Records(held, tuple(cast("list[HistoryEntry]", entries)))
