"""Whether a canary does worse than its peers: the criterion, and all its numbers. Standard library alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, lgamma
from typing import TypedDict

MIN_FAILURES = 3
"""Failed tasks before a canary is judged by them: one or two are chance, or one bad argument."""
SIGNIFICANCE = 0.01
"""Chance that a canary as good as its peers would show so many failures; below it, the canary is worse."""
MIN_TASKS = 5
"""Tasks that a canary has to end before it is compared, if its peers end as many meanwhile."""
MAX_EXTENSION = 2
"""How long a gate waits for MIN_TASKS, as a multiple of the `settle` that it has watched already."""


class Counts(TypedDict):
    """Tasks that a worker has ended since it started. A WorkerState has them."""

    succeeded: int
    failed: int


@dataclass(frozen=True)
class Verdict:
    """problem: why the canary is worse; None if it is not. enough: whether it has ended enough tasks to say so."""

    problem: str | None
    enough: bool


def verdict(
    canary: Counts, peers_before: Mapping[str, Counts], peers_now: Mapping[str, Counts], predecessors: Sequence[Counts]
) -> Verdict:
    """Compare a canary with the first of these that have ended a task: its peers since the step began; its peers since they
    started; the workers that it and the other canaries replaced.

    canary, peers_now, predecessors: counts since each worker's start. peers_before: what the peers had when the step began.
    Peers are by node.
    """
    since = [_difference(now, peers_before[node]) for node, now in peers_now.items() if node in peers_before]
    enough = _ended(canary) >= MIN_TASKS or sum(map(_ended, since)) < MIN_TASKS
    choices: tuple[Sequence[Counts], ...] = (since, list(peers_now.values()), predecessors)
    compared = next((workers for workers in choices if any(map(_ended, workers))), ())
    return Verdict(fails_more(canary, compared), enough)


def fails_more(canary: Counts, peers: Iterable[Counts]) -> str | None:
    """Why a canary's tasks fail more often than its peers'; None if they do not.

    One-sided Fisher exact test: if the failures of both were dealt out at random, how likely would the canary get so many?
    If no peer has ended a task, more than half failed is too many.
    """
    failed, total = canary["failed"], _ended(canary)
    if failed < MIN_FAILURES:
        return None
    workers = list(peers)
    peers_failed, peers_total = sum(worker["failed"] for worker in workers), sum(map(_ended, workers))
    described = f"{failed} of {total} tasks failed"
    if not peers_total:
        return f"{described}, and no other worker has ended one" if failed * 2 > total else None
    if _chance(failed, total, peers_failed, peers_total) >= SIGNIFICANCE:
        return None
    return f"{described}, of the others' {peers_failed} of {peers_total}"


def _ended(counts: Counts) -> int:
    return counts["failed"] + counts["succeeded"]


def _difference(now: Counts, before: Counts) -> Counts:
    return {"succeeded": now["succeeded"] - before["succeeded"], "failed": now["failed"] - before["failed"]}


def _chance(failed: int, total: int, peers_failed: int, peers_total: int) -> float:
    """Probability of at least `failed` among `total`, drawn from all tasks of both: the upper tail of a hypergeometric
    distribution, by its first term and the ratio of each to the one before."""
    every, every_failed = total + peers_total, failed + peers_failed
    term = exp(_ways(every_failed, failed) + _ways(every - every_failed, total - failed) - _ways(every, total))
    chance = 0.0
    for k in range(failed, min(total, every_failed) + 1):
        chance += term
        if chance >= SIGNIFICANCE:
            break
        term *= (every_failed - k) * (total - k) / ((k + 1) * (every - every_failed - total + k + 1))
        if term < chance * 1e-9 and k > total * every_failed / every:  # past the most likely number they only get smaller
            break
    return chance


def _ways(many: int, some: int) -> float:
    """The logarithm of `many` over `some`."""
    return lgamma(many + 1) - lgamma(some + 1) - lgamma(many - some + 1)
