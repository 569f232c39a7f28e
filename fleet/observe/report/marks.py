"""What happened to a fleet, as marks on its timeline: rollouts, faults and alerts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, cast

from fleet.observe.report.timeline import Kind, Mark
from fleet.rollout import history
from fleet.rollout.history import HistoryEntry
from fleet.spec.text import enumerate_briefly

TOGETHER = 30.0
"""Seconds within which the same fault of several workers is one mark."""
AFTER_ROLLOUT = 60.0
"""Seconds after a rollout in which what its steps did to workers may still be seen."""

What = Literal["silent", "replaced", "restarted", "killed"]
_WORDS: Mapping[What, str] = {
    "silent": "gave no sign of life",
    "replaced": "gave no sign of life, then started again",
    "restarted": "started again",
    "killed": "had a process killed for memory",
}


@dataclass(frozen=True)
class Fault:
    """What happened to one worker."""

    at: float
    until: float | None
    what: What
    node: str


class Point(NamedTuple):
    """A worker at one moment. up: None if it is not known. started: when it last started. killed: processes of it that were
    killed for memory since then."""

    at: float
    up: bool | None
    started: float | None = None
    killed: float | None = None


def faults_of(node: str, points: Iterable[Point]) -> Iterator[Fault]:
    """What happened to a worker between the points, which are in order of time."""
    silent_since: float | None = None
    last = Point(0.0, None)
    for point in points:
        is_new = point.started is not None and last.started is not None and point.started > last.started + 1
        if point.up is False and silent_since is None:
            silent_since = point.at
        elif point.up and silent_since is not None:
            yield Fault(silent_since, point.at, "replaced" if is_new else "silent", node)
            silent_since = None
        elif is_new and point.started is not None:
            yield Fault(min(max(point.started, last.at), point.at), None, "restarted", node)
        if point.killed is not None and last.killed is not None and point.killed > last.killed:
            yield Fault(point.at, None, "killed", node)
        last = Point(
            point.at,
            point.up,
            last.started if point.started is None else point.started,
            last.killed if point.killed is None else point.killed,
        )
    if silent_since is not None:
        yield Fault(silent_since, last.at, "silent", node)


def spans(points: Iterable[tuple[float, bool | None]]) -> Iterator[tuple[float, float]]:
    """From when to when something is so. points: (time, whether it is so; None if not known), in order of time."""
    since: float | None = None
    latest = 0.0
    for at, is_so in points:
        if is_so and since is None:
            since = at
        elif not is_so and since is not None:
            yield since, latest if is_so is None else at
            since = None
        latest = at
    if since is not None:
        yield since, latest


def worker_marks(faults: Iterable[Fault]) -> list[Mark]:
    """A mark for each fault, or for the same fault of several workers at one time."""
    groups: list[list[Fault]] = []
    for fault in sorted(faults, key=lambda fault: (fault.what, fault.at)):
        if groups and groups[-1][0].what == fault.what and fault.at - groups[-1][0].at <= TOGETHER:
            groups[-1].append(fault)
        else:
            groups.append([fault])
    return [_mark(group) for group in groups]


def drop_planned(marks: Iterable[Mark], rollouts: Sequence[Mark]) -> list[Mark]:
    """Without what a rollout did: that it stops and starts workers is no fault."""
    return [mark for mark in marks if not (mark.planned and any(_within(mark, rollout) for rollout in rollouts))]


def _within(mark: Mark, rollout: Mark) -> bool:
    end = (rollout.at if rollout.until is None else rollout.until) + AFTER_ROLLOUT
    return rollout.at <= mark.at and (mark.at if mark.until is None else mark.until) <= end


def _mark(group: Sequence[Fault]) -> Mark:
    nodes = list(dict.fromkeys(fault.node for fault in group))
    ends = [fault.until for fault in group if fault.until is not None]
    number = f"{len(nodes)} workers: " if len(nodes) > 1 else ""
    what = group[0].what
    text = f"{number}{enumerate_briefly(nodes)} {_WORDS[what]}"
    return Mark(group[0].at, max(ends, default=None), "fault", text, planned=what != "killed")


def rollout_marks(entries: Iterable[Mapping[str, Any]], start: float, end: float) -> list[Mark]:
    """The runs of the history (`fleet.rollout.history`) between two times."""
    marks = []
    for entry in entries:
        at = _time(entry.get("at"))
        if at is None:
            continue
        seconds = entry.get("seconds")
        until = at + seconds if isinstance(seconds, int | float) else None
        if (until or at) >= start and at <= end:
            failed = not history.ended_well(cast("HistoryEntry", entry))
            marks.append(Mark(at, until, "rollout", _rollout(entry, failed), failed))
    return marks


def _rollout(entry: Mapping[str, Any], failed: bool) -> str:
    releases = entry.get("releases")
    release = f", release {'/'.join(map(str, releases.values()))}" if isinstance(releases, dict) and releases else ""
    drill = " (a drill)" if entry.get("drill") else ""
    outcome = entry.get("outcome", "outcome unknown")
    if outcome == "done" and failed:
        outcome = "done, with failed steps"
    return f"{entry.get('what')}{drill} by {entry.get('who')}: {outcome}{release}"


def _time(text: object) -> float | None:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def span_marks(kind: Kind, text: str, points: Iterable[tuple[float, bool | None]]) -> list[Mark]:
    """A mark for each time in which something is so."""
    return [Mark(at, until, kind, text) for at, until in spans(points)]
