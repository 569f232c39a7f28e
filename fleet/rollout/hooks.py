"""How a hook ended, in what `fleet_node.app.hook` printed. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypedDict

from fleet_node.protocol import HOOK_MARK, HookResult

LINES = 20
"""Of what a hook printed, the last that are shown and kept."""


class HookRun(TypedDict):
    """code: the command's exit code; None if contact was lost. lines: the last that it printed."""

    name: str
    host: str
    code: int | None
    seconds: float
    lines: list[str]


def parse(name: str, host: str, output: Iterable[str]) -> HookRun:
    """output: lines."""
    lines: list[str] = []
    result: HookResult | None = None
    for line in output:
        if line.startswith(HOOK_MARK):
            result = json.loads(line.removeprefix(HOOK_MARK))
        else:
            lines.append(line)
    code, seconds = (result["code"], result["seconds"]) if result else (None, 0.0)
    return {"name": name, "host": host, "code": code, "seconds": seconds, "lines": lines[-LINES:]}


def summarize(ended: HookRun) -> str:
    """In one line, with the reason if it failed."""
    if ended["code"] == 0:
        return f"{ended['name']}: done in {ended['seconds']:g} s"
    if ended["code"] is None:
        return f"{ended['name']} failed: contact was lost; whether the command has ended is not known"
    last = f": {ended['lines'][-1]}" if ended["lines"] else ""
    return f"{ended['name']} failed with exit code {ended['code']}{last}"
