"""Whether a canary does worse than the others: decisions over what workers said. Standard library alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp, lgamma

FEWEST_FAILURES = 3
"""Failed tasks before a canary is judged by them: one or two are chance, or one bad argument."""


SIGNIFICANT = 0.01
"""Chance that a canary as good as the others would show so many failures; below it, it is not as good."""


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
