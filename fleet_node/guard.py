"""Whether a worker may drain now, and whether one that came up is well: decisions over what workers said.

Standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp, lgamma

FEWEST_FAILURES = 3
"""Failed tasks before a canary is judged by them: one or two are chance, or one bad argument."""
SIGNIFICANT = 0.01
"""Chance that a canary as good as the others would show so many failures; below it, it is not as good."""


def short(consumed: Mapping[str, Iterable[str]], going: Iterable[str], keep: Mapping[str, int]) -> dict[str, int]:
    """Queues that would be left with fewer consumers than they keep, each with how many.

    consumed: node → the queues that it consumes, of all workers that answered just now. going: the nodes that are to go down.
    keep: queue → consumers that it keeps.
    """
    gone = frozenset(going)
    left = dict.fromkeys(keep, 0)
    for node, queues in consumed.items():
        for queue in queues:
            if node not in gone and queue in left:
                left[queue] += 1
    return {queue: number for queue, number in left.items() if number < keep[queue]}


def surging(short_queues: Iterable[str], consumes: Mapping[str, Iterable[str]]) -> list[str]:
    """Which of the instances that are to go down (`consumes`: instance → its queues) are doubled first, in their order: those
    that serve a queue that would be left short."""
    wanted = frozenset(short_queues)
    return [unit for unit, queues in consumes.items() if wanted.intersection(queues)]


def lacking(short_queues: Mapping[str, int], keep: Mapping[str, int], doubled: Iterable[Iterable[str]]) -> dict[str, int]:
    """Queues that are short even with second instances that serve `doubled`, each with how many consumers it would have."""
    found = dict(short_queues)
    for queues in doubled:
        for queue in set(queues) & found.keys():
            found[queue] += 1
    return {queue: number for queue, number in found.items() if number < keep[queue]}


def fails_more(canary: Mapping[str, int], others: Iterable[Mapping[str, int]]) -> str | None:
    """Why a canary's tasks fail more often than the other workers' (each {"succeeded", "failed"}); None where they do not.

    One-sided Fisher exact test: with the failures of both dealt out at random, how likely are so many at the canary? Where no
    other worker has ended a task there is nothing to compare with, and more than half failed is too many.
    """
    failed, total = canary["failed"], canary["failed"] + canary["succeeded"]
    if failed < FEWEST_FAILURES:
        return None
    sums = dict.fromkeys(("failed", "succeeded"), 0)
    for other in others:
        for name in sums:
            sums[name] += other[name]
    theirs = sums["failed"] + sums["succeeded"]
    said = f"{failed} of {total} tasks failed"
    if not theirs:
        return f"{said}, and no other worker has ended one" if failed * 2 > total else None
    if _chance(failed, total, sums["failed"], theirs) >= SIGNIFICANT:
        return None
    return f"{said}, of the others' {sums['failed']} of {theirs}"


def _chance(failed: int, total: int, their_failed: int, their_total: int) -> float:
    """Probability of at least `failed` among `total`, drawn from all tasks of both: the upper tail of a hypergeometric
    distribution, by its first term and the ratio of each to the one before."""
    every, every_failed = total + their_total, failed + their_failed
    term = exp(_ways(every_failed, failed) + _ways(every - every_failed, total - failed) - _ways(every, total))
    chance = 0.0
    for k in range(failed, min(total, every_failed) + 1):
        chance += term
        if chance >= SIGNIFICANT:
            break
        term *= (every_failed - k) * (total - k) / ((k + 1) * (every - every_failed - total + k + 1))
        if term < chance * 1e-9 and k > total * every_failed / every:  # past the most likely number they only get smaller
            break
    return chance


def _ways(many: int, some: int) -> float:
    """The logarithm of `many` over `some`."""
    return lgamma(many + 1) - lgamma(some + 1) - lgamma(many - some + 1)
