"""The facts of a fleet's machines, for a command that sizes roles as a deploy does."""

from __future__ import annotations

from pathlib import Path

from fleet.cli.arguments import say
from fleet.inventory import last_facts
from fleet.inventory.ask import try_machines
from fleet.plan.facts import MachineFacts
from fleet.spec.fleet import Inventory


def asked(file: Path, inventory: Inventory) -> dict[str, MachineFacts]:
    """Host → its facts, as it says now, or as it last said. Who does not answer is told on stderr."""
    answers, silent = try_machines(inventory.hosts)
    last, _ = last_facts.read(file)
    for host in silent:
        known = "as it was when it last answered" if host in last.hosts else "left out"
        say(f"{host} does not answer, and is {known}: {silent[host]}")
    return last.completed(answers, silent)
