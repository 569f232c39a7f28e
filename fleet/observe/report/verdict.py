"""What a report says first: how the fleet was, in one sentence with numbers, the worst first. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fleet.observe.report.statistics import FULL, Statistics
from fleet.observe.report.timeline import Mark, Timeline
from fleet.observe.report.units import clock, seconds_text, text
from fleet.spec.text import short

Level = Literal["bad", "watch", "good"]
NEAR_CAP = 90.0
"""Percent of its memory limit above which a worker is named."""
FAILING = 0.05
"""Share of tasks that fail above which that is named: as of the alert TaskFailing."""
FEWEST = 20
"""Tasks below which a share says nothing."""
LONG = 600.0
"""Seconds of waiting that are named also if the queue has no objective."""
FULL_FOR = 0.1
"""Share of the time for which a role is full above which that is named."""

MOST = 3
"""Findings that the sentence names."""


@dataclass(frozen=True)
class Verdict:
    """level: how bad the worst is. sentence: for the top of the page."""

    level: Level
    sentence: str


def verdict(timeline: Timeline, of: Statistics) -> Verdict:
    """Of a timeline and its numbers."""
    findings = [*_bad(timeline, of)]
    level: Level = "bad" if findings else "good"
    findings += _watch(timeline, of)
    if not findings:
        return Verdict("good", f"{_good(of)}.")
    rest = f"; and {len(findings) - MOST} more" if len(findings) > MOST else ""
    sentence = f"{'; '.join(findings[:MOST])}{rest}."
    return Verdict("watch" if level == "good" else level, sentence[0].upper() + sentence[1:])


def _bad(timeline: Timeline, of: Statistics) -> Iterator[str]:
    if timeline.away_s > 0:
        yield f"the broker was away for {seconds_text(timeline.away_s)}"
    over = [queue for queue in of.queues if queue.over_s]
    if over:
        worst = over[0]
        others = f" ({_number(len(over) - 1, 'other queue')} too)" if len(over) > 1 else ""
        yield (
            f"tasks in {short(worst.name)} waited up to {text(worst.age, 'seconds')}, and were above their objective of "
            f"{text(worst.objective, 'seconds')} for {seconds_text(worst.over_s)}{others}"
        )
    faults = [mark for mark in timeline.marks if mark.kind == "fault" and not mark.text.startswith("the broker was away")]
    if faults:
        yield f"{_number(len(faults), 'fault')}, {_at(faults, 0)}: {short(faults[0].text, 120)}"
    rollouts = [mark for mark in timeline.marks if mark.failed]
    if rollouts:
        yield f"{_number(len(rollouts), 'rollout')} did not end well, {_at(rollouts, -1)}"
    alerts = [mark for mark in timeline.marks if mark.kind == "alert"]
    if alerts:
        yield f"{_number(len(alerts), 'alert')} fired, {_at(alerts, 0)}: {short(alerts[0].text, 120)}"


def _watch(timeline: Timeline, of: Statistics) -> Iterator[str]:
    if of.begun >= FEWEST and of.failed > FAILING * of.begun:
        kind = next(iter(timeline.failures), None)
        most = f", most often {short(kind.task)} with {short(kind.exception)}" if kind else ""
        yield f"{100 * of.failed / of.begun:.1f} % of the tasks failed{most}"
    long = [queue for queue in of.queues if queue.objective is None and (queue.age or 0) > LONG]
    if long:
        yield f"tasks in {short(long[0].name)}, which has no objective, waited up to {text(long[0].age, 'seconds')}"
    near = [worker for worker in of.workers if (worker.share or 0) >= NEAR_CAP]
    if near:
        others = f" ({_number(len(near) - 1, 'other worker')} too)" if len(near) > 1 else ""
        yield f"the worker {short(near[0].name)} came to {text(near[0].share, 'percent')} of its memory limit{others}"
    full = [role for role in of.roles if role.full_s > FULL_FOR * of.seen_s]
    if full:
        busy = f"{text(FULL, 'percent')} or more of its slots busy"
        yield f"the role {short(full[0].name)} had {busy} for {seconds_text(full[0].full_s)}"
    if of.unseen_s > 2 * timeline.grid.step and of.unseen_s - timeline.away_s > 2 * timeline.grid.step:
        yield f"nothing is known of {seconds_text(of.unseen_s - timeline.away_s)} of the time"


def _good(of: Statistics) -> str:
    tasks = f"{text(round(of.begun), 'number')} tasks began and {text(round(of.failed), 'number')} failed"
    oldest = max(of.queues, key=lambda queue: queue.age or 0, default=None)
    if oldest is None:
        return f"No fault, and no queue: {tasks}"
    kept = "every queue kept its objective" if any(queue.objective for queue in of.queues) else "no fault"
    return f"{kept[0].upper()}{kept[1:]}: the oldest task waited {text(oldest.age, 'seconds')}, in {short(oldest.name)}; {tasks}"


def _at(marks: Sequence[Mark], which: Literal[0, -1]) -> str:
    """When the first or the last of them was."""
    name = "" if len(marks) == 1 else "the last " if which else "the first "
    return f"{name}at {clock(marks[which].at)}"


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
