"""Which findings are new: no earlier run has reported them. Pure, but for two functions that read and write the file.

A run looks at the fleet in several ways: at its settings, at its app, at the broker. Each look replaces what that look reported
before, so that a finding is new again once it has been gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from fleet.inventory import kept
from fleet.lint.finding import Finding

MOST = 2000
"""Findings that are remembered of a look. Others are new each time."""


class Reported(BaseModel):
    """What earlier runs have reported. looks: look → a finding's digest → its hosts."""

    version: Literal[1] = 1
    looks: dict[str, dict[str, list[str]]] = {}


def mark(findings: Iterable[Finding], reported: Reported) -> tuple[Finding, ...]:
    """The findings, each with whether it is new. One that concerns another host than before is new."""
    known: dict[str, set[str]] = {}
    for look in reported.looks.values():
        for digest, hosts in look.items():
            known.setdefault(digest, set()).update(hosts)
    return tuple(
        replace(finding, new=not ((digest := _digest(finding)) in known and known[digest].issuperset(finding.hosts)))
        for finding in findings
    )


def remember(reported: Reported, looks: Mapping[str, Iterable[Finding]], whole: bool) -> Reported:
    """The same with what a run has reported. whole: whether it looked at every host; if not, what others had stays."""
    after = {look: dict(findings) for look, findings in reported.looks.items()}
    for look, findings in looks.items():
        entries: dict[str, set[str]] = {}
        for finding in findings:
            entries.setdefault(_digest(finding), set()).update(finding.hosts)
        for digest, hosts in () if whole else after.get(look, {}).items():
            entries.setdefault(digest, set()).update(hosts)
        after[look] = {digest: sorted(hosts) for digest, hosts in islice(entries.items(), MOST)}
    return Reported(looks=after)


def read(inventory: Path) -> tuple[Reported, str]:
    """What earlier runs over an inventory have reported, and why it could not be read: everything is new then."""
    return kept.read(_file(inventory), Reported)


def write(inventory: Path, reported: Reported) -> str:
    """Keep it for the next run. Returns why it could not be kept."""
    return kept.write(_file(inventory), reported)


def arranged(findings: Iterable[Finding], verbose: bool) -> tuple[list[Finding], list[Finding]]:
    """(findings to show, findings to count). First errors, then what is new, each worst first. verbose: shows all."""
    levels = ("error", "warning", "note")
    ordered = sorted(
        findings, key=lambda found: (not found.is_error, not found.in_full, bool(found.silenced), levels.index(found.level))
    )
    return [found for found in ordered if verbose or found.in_full], [
        found for found in ordered if not (verbose or found.in_full)
    ]


def count(findings: Iterable[Finding]) -> str:
    """How many of what there are, as in "2 warnings, 1 note, 1 silenced"; empty if there are none."""
    kinds = ["silenced" if finding.silenced else finding.level for finding in findings]
    words = []
    for kind in ("error", "warning", "note", "silenced"):
        if number := kinds.count(kind):
            words.append(f"{number} {kind}{'s' if number > 1 and kind != 'silenced' else ''}")
    return ", ".join(words)


def _file(inventory: Path) -> Path:
    return kept.folder(inventory) / "findings.json"


def _digest(finding: Finding) -> str:
    """The finding as it is in every run. It tells nobody what the finding says."""
    about = finding.message if finding.about is None else finding.about
    return sha256("\0".join((finding.rule, finding.level, finding.path, about)).encode()).hexdigest()[:16]
