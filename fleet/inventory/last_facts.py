"""The facts that were last seen of each machine, kept on the control machine: for `fleet lint`, if a machine does not answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel

from fleet.inventory import kept
from fleet.plan.facts import MachineFacts


def _plausible(facts: MachineFacts) -> MachineFacts:
    if facts.cores < 1 or facts.memory < 1 or facts.gpus < 0:
        raise ValueError("no machine is like that")
    return facts


@dataclass(frozen=True)
class SeenFacts:
    """The facts of a machine. at: when it reported them."""

    at: AwareDatetime
    facts: Annotated[MachineFacts, AfterValidator(_plausible)]

    def age(self, now: datetime) -> str:
        """In words, as in "3 hours"."""
        seconds = max(0, int((now - self.at).total_seconds()))
        for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
            if number := seconds // length:
                return f"{number} {unit}{'s' if number > 1 else ''}"
        return "less than a minute"


class LastFacts(BaseModel):
    """Host → its facts as they were last seen."""

    version: Literal[1] = 1
    hosts: dict[str, SeenFacts] = {}

    def completed(self, answers: Mapping[str, MachineFacts], silent: Iterable[str]) -> dict[str, MachineFacts]:
        """The facts of every machine that answered, and those last seen of the silent ones."""
        return {**answers, **{host: self.hosts[host].facts for host in silent if host in self.hosts}}


def read(inventory: Path) -> tuple[LastFacts, str]:
    """What is kept of an inventory's machines, and why it could not be read: there is nothing then."""
    return kept.read(_file(inventory), LastFacts)


def keep(inventory: Path, answers: Mapping[str, MachineFacts], hosts: Collection[str]) -> str:
    """Keep what machines report now. hosts: all of the inventory; others are forgotten. Returns why it could not be kept."""
    now = datetime.now(UTC)
    before = {host: seen for host, seen in read(inventory)[0].hosts.items() if host in hosts}
    seen = {host: SeenFacts(now, facts) for host, facts in answers.items() if host in hosts}
    return kept.write(_file(inventory), LastFacts(hosts={**before, **seen}))


def forget(inventory: Path, host: str) -> str:
    """Forget a machine. Returns why that could not be kept."""
    before = read(inventory)[0].hosts
    return keep(inventory, {}, before.keys() - {host}) if host in before else ""


def _file(inventory: Path) -> Path:
    return kept.folder(inventory) / "facts.json"
