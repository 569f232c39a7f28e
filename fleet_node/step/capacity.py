"""Whether workers may go down: decisions over what all workers consume. Standard library alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def underserved(
    consumed: Mapping[str, Iterable[str]], stopping: Iterable[str], min_consumers: Mapping[str, int]
) -> dict[str, int]:
    """Queues that would have fewer consumers than their minimum, each with its number of consumers.

    consumed: node → the queues that it consumes, of all workers that answered just now. stopping: the nodes that are to go down.
    min_consumers: queue → its minimum.
    """
    down = frozenset(stopping)
    remaining = dict.fromkeys(min_consumers, 0)
    for node, queues in consumed.items():
        for queue in queues:
            if node not in down and queue in remaining:
                remaining[queue] += 1
    return {queue: number for queue, number in remaining.items() if number < min_consumers[queue]}


def to_double(underserved_queues: Iterable[str], consumes: Mapping[str, Iterable[str]]) -> list[str]:
    """Instances that get a second instance before they go down: those that serve a queue that would be underserved.

    consumes: instance → its queues, of those that are to go down. The result is in the same order.
    """
    queues_in_need = frozenset(underserved_queues)
    return [instance for instance, queues in consumes.items() if queues_in_need.intersection(queues)]


def still_underserved(
    underserved_queues: Mapping[str, int], min_consumers: Mapping[str, int], doubled: Iterable[Iterable[str]]
) -> dict[str, int]:
    """Queues that would be underserved even with second instances, each with its number of consumers.

    underserved_queues: see underserved(). doubled: the queues of each second instance.
    """
    consumers = dict(underserved_queues)
    for queues in doubled:
        for queue in set(queues) & consumers.keys():
            consumers[queue] += 1
    return {queue: number for queue, number in consumers.items() if number < min_consumers[queue]}
