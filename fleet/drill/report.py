"""The account of a drill, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def show(account: Mapping[str, Any], console: Console) -> None:
    """Print the account of `fleet drill rollout`: a row for each phase, and one for all."""
    table = Table("phase", "expected", "seconds", "sent", "finished", "lost", "run twice", "longest wait")
    for phase in account["phases"]:
        table.add_row(phase["name"], phase["went_wrong"] or "yes", f"{phase['seconds']:g}", *_counts(phase))
    table.add_section()
    table.add_row("all", "", f"{account['seconds']:g}", *_counts(account))
    console.print(table)


def show_alarms(account: Mapping[str, Any], console: Console) -> None:
    """Print the results of `fleet drill alarms`: a row for each fault."""
    table = Table("fault", "at", "alerts", "fired after", "as expected")
    for scenario in account["scenarios"]:
        fired = [f"{seconds:g} s (at most {scenario['limits'][name]:g})" for name, seconds in scenario["fired"].items()]
        verdict = f"skipped: {scenario['skipped']}" if scenario["skipped"] else scenario["went_wrong"] or "yes"
        alerts = ", ".join(scenario["expected"]) or "none"
        table.add_row(scenario["name"], scenario["at"], alerts, ", ".join(fired) or "-", verdict)
    console.print(table)


def _counts(account: Mapping[str, Any]) -> list[str]:
    waits = sorted(account["longest_wait"].items(), key=lambda item: -item[1])[:1]
    longest = f"{waits[0][1]:g} s ({waits[0][0]})" if waits else "-"
    return [*(str(account[name]) for name in ("sent", "finished", "lost", "run_twice")), longest]


def show_fault(account: Mapping[str, Any], console: Console) -> None:
    """Print the account of a fault, in lines."""
    back = "never" if account["back_s"] is None else f"after {account['back_s']:g} s"
    again = account["begun_again_s"]
    tasks = f"{account['sent']} sent, {account['finished']} finished, {account['lost']} lost, {account['run_twice']} run twice"
    rows = {
        "tasks": tasks,
        "fault": f"{account['drill']} at {account['at']}, {account['fault_s']:g} s",
        "back at work": f"{back} (at most {account['back_within_s']:g} s, {_basis(account)}); "
        f"longest wait of a task {account['longest_wait_s']:g} s",
        "begun again": "no task" if again is None else f"the last of the tasks that it interrupted, {again:g} s after the fault",
        "restarted": ", ".join(account["restarted"]) or "nothing",
        **({"parked": f"{account['parked']} task"} if account["parked"] else {}),
        "expected": account["went_wrong"] or ("no: tasks were lost" if account["lost"] else "yes"),
    }
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def show_beat(account: Mapping[str, Any], console: Console) -> None:
    """Print the account of `fleet drill kill-beat`, in lines."""
    sent = "not counted: its scheduler does not take the drill's entry"
    if account["sent"] is not None:
        sent = f"{account['sent']} runs sent, each once; the longest time between two {account['longest_gap_s']:g} s"
        if account["went_wrong"]:
            sent = f"{account['sent']} runs sent"
    within = f"after {account['led_after_s']:g} s (at most {account['led_within_s']:g} s)"
    rows = {
        "killed": account["killed"],
        "leads now": f"{account['leader'] or 'nobody'}, {within}",
        "schedule": sent,
        "expected": account["went_wrong"] or "yes",
    }
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _basis(account: Mapping[str, Any]) -> str:
    """What decides when the tasks of a dead worker come back."""
    if account["lease_s"] is not None:
        return f"lease {account['lease_s']} s"
    if account.get("silence_s") is not None:
        return f"RabbitMQ waits {account['silence_s']} s for a machine that is silent"
    timeout = account["visibility_timeout_s"]
    return "no lease, visibility timeout " + ("as the app sets it" if timeout is None else f"{timeout} s")
