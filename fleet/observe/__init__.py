"""Looks at a running fleet: who does what, what waits, and what to do about it. It changes nothing.

`load("inventory/prod.py")` returns what `fleet load --json` prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load(inventory: str | Path) -> dict[str, Any]:
    """The load of a fleet as plain values: {"workers": {node: {"state", "active", "slots", "utilisation", "heard_s", …}},
    "roles": {…}, "advice": […]}. utilisation: percent. Memory in bytes, times in seconds.

    A worker that does not answer is there, with its state and the reason. Raises FleetError if nothing can be looked at.
    """
    from fleet.observe.collect import collect
    from fleet.observe.plain import load_as_json
    from fleet.observe.workers import load_of

    collected = collect(Path(inventory))
    return load_as_json(load_of(collected.plan, collected.machines, collected.silent, collected.broker), str(inventory))
