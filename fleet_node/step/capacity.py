"""Whether a worker may drain now, and whether one that came up is well: decisions over what workers said.

Standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


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
