"""A drill's account, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def show(said: Mapping[str, Any], console: Console) -> None:
    """Print it: a row a phase, and one for all."""
    table = Table("phase", "as it should", "seconds", "sent", "finished", "lost", "run twice", "longest wait")
    for one in said["phases"]:
        table.add_row(one["name"], one["went_wrong"] or "yes", f"{one['seconds']:g}", *_counts(one))
    table.add_section()
    table.add_row("all", "", f"{said['seconds']:g}", *_counts(said))
    console.print(table)


def _counts(one: Mapping[str, Any]) -> list[str]:
    waits = sorted(one["longest_wait"].items(), key=lambda item: -item[1])[:1]
    longest = f"{waits[0][1]:g} s ({waits[0][0]})" if waits else "-"
    return [*(str(one[name]) for name in ("sent", "finished", "lost", "run_twice")), longest]


def show_fault(said: Mapping[str, Any], console: Console) -> None:
    """Print what became of a fault, in lines."""
    back = "never" if said["back_s"] is None else f"after {said['back_s']:g} s"
    timeout = said["visibility_timeout_s"]
    rows = {
        "tasks": f"{said['sent']} sent, {said['finished']} finished, {said['lost']} lost, {said['run_twice']} run twice",
        "fault": f"{said['drill']} at {said['at']}, {said['fault_s']:g} s",
        "back at work": f"{back} (at most {said['back_within_s']:g} s); longest wait of a task {said['longest_wait_s']:g} s"
        + (f" (visibility timeout {timeout} s)" if timeout else ""),
        "restarted": ", ".join(said["restarted"]) or "nothing",
        **({"parked": f"{said['parked']} task"} if said["parked"] else {}),
        "as it should": said["went_wrong"] or ("no: tasks were lost" if said["lost"] else "yes"),
    }
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
