"""Which release to go back to: a decision over the history of runs (see `fleet.lock`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class NoReleaseError(Exception):
    """There is none to go back to. str() is what the user reads."""


@dataclass(frozen=True)
class Known:
    """A release as the history knows it. ids: its id by Python version, since what is built differs with it. app: what follows
    `celery -A`. outcome: of the last run that brought it."""

    ids: tuple[tuple[str, str], ...]
    app: str
    at: str
    outcome: str

    def __str__(self) -> str:
        return f"{'/'.join(identity for _, identity in self.ids)} ({self.at})"


def known(runs: Iterable[Mapping[str, Any]]) -> list[Known]:
    """Every release that a run brought, each once, the latest last."""
    found: dict[tuple[tuple[str, str], ...], Known] = {}
    for run in runs:
        releases = run.get("releases")
        if isinstance(releases, dict) and releases:
            ids = tuple(sorted((str(python), str(identity)) for python, identity in releases.items()))
            found.pop(ids, None)
            found[ids] = Known(ids, str(run.get("app", "")), str(run.get("at", "")), str(run.get("outcome", "")))
    return list(found.values())


def choose(runs: Sequence[Mapping[str, Any]], wanted: str | None = None) -> Known:
    """The release named `wanted`; without, the last good one, or where the last run was good the one before.

    Good is a release whose last run ended well: one that failed is never chosen. Raises NoReleaseError.
    """
    releases = known(runs)
    good = [one for one in releases if one.outcome == "done"]
    if wanted is not None:
        named = [one for one in releases if any(identity == wanted for _, identity in one.ids)]
        if not named:
            raise NoReleaseError(f"release: no run has brought {wanted}; {_listed(good)}")
        if named[-1].outcome != "done":
            raise NoReleaseError(f"release: the last run with {wanted} {named[-1].outcome} ({named[-1].at}); {_listed(good)}")
        return named[-1]
    if releases and releases[-1].outcome == "done":
        good = good[:-1]
    if not good:
        raise NoReleaseError("there is no earlier release whose run ended well; see: fleet history")
    return good[-1]


def _listed(good: Sequence[Known]) -> str:
    return f"those whose last run ended well: {', '.join(map(str, reversed(good)))}" if good else "none has ended well yet"
