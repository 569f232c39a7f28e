"""Which release to go back to: a decision over the history of runs (see `fleet.lock`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.errors import FleetError

Ids = tuple[tuple[str, str], ...]


class NoReleaseError(FleetError):
    """There is no release to go back to. str() is what the user reads."""


@dataclass(frozen=True)
class KnownRelease:
    """A release as the history knows it. ids: its id by Python version, since a build differs with it. app: what follows
    `celery -A`. at: when the last run with it began. outcome: of its last deploy."""

    ids: Ids
    app: str
    at: str
    outcome: str

    def __str__(self) -> str:
        return f"{'/'.join(identity for _, identity in self.ids)} ({self.at})"


@dataclass
class _Past:
    """What the runs so far come to. good: releases to go back to, the latest last."""

    known: dict[Ids, KnownRelease] = field(default_factory=dict)
    good: dict[Ids, None] = field(default_factory=dict)
    current: Ids | None = None  # of the last run that ended well
    last: Ids | None = None
    unfinished_rollback: bool = False

    def add(self, run: Mapping[str, Any]) -> None:
        ids: Ids = tuple(sorted((str(python), str(identity)) for python, identity in run["releases"].items()))
        done, back = run.get("outcome") == "done", run.get("what") == "rollback.py"
        before = self.known.get(ids)
        outcome = before.outcome if before and back else str(run.get("outcome", ""))
        self.known[ids] = KnownRelease(ids, str(run.get("app", "")), str(run.get("at", "")), outcome)
        if back:
            # A rollback flees from a release, which is good again when a deploy of it ends well.
            if self.last != ids and self.last is not None:
                self.good.pop(self.last, None)
            self._mark_good(ids)
        elif done:
            self._mark_good(ids)
        elif ids != self.current:
            self.good.pop(ids, None)  # else it was the change of settings that failed, and not the release
        if done:
            self.current = ids
        self.unfinished_rollback = back and not done
        self.last = ids

    def _mark_good(self, ids: Ids) -> None:
        self.good.pop(ids, None)
        self.good[ids] = None


def select(runs: Iterable[Mapping[str, Any]], name: str | None = None) -> KnownRelease:
    """The release named `name`. Without a name: the release of an interrupted rollback; else, if the last deploy did not end
    well, the release that was good before it; else the good release before that of the last run. Raises NoReleaseError.

    A release is good if its last deploy ended well and nobody has gone back from it since: one that failed is never chosen.
    """
    past = _Past()
    for run in runs:
        if isinstance(run.get("releases"), dict) and run["releases"]:
            past.add(run)
    good = [past.known[ids] for ids in past.good]
    if name is not None:
        named = [release for release in past.known.values() if any(identity == name for _, identity in release.ids)]
        if not named:
            raise NoReleaseError(f"release: no run has brought {name}; {_listed(good)}")
        if named[-1].outcome != "done":
            raise NoReleaseError(f"release: the last deploy of {name} {named[-1].outcome} ({named[-1].at}); {_listed(good)}")
        return named[-1]
    if past.unfinished_rollback and past.last is not None:
        return past.known[past.last]
    # A last run that failed left what was current before; one that ended well, or changed settings alone, is itself current.
    candidates = good if past.last != past.current else [release for release in good if release.ids != past.current]
    if not candidates:
        raise NoReleaseError("there is no earlier release whose deploy ended well; see: fleet history")
    return candidates[-1]


def _listed(good: list[KnownRelease]) -> str:
    return f"to go back to there are: {', '.join(map(str, reversed(good)))}" if good else "there is none to go back to yet"
