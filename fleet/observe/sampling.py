"""Reads the broker for `queues`: what waits, what workers hold, and what is parked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from redis import Redis

from fleet.broker import ages as reading
from fleet.broker import entries
from fleet.broker.look import is_task, node_of, prefix_of, queue_of, scan
from fleet.observe.ages import Age, QueueAge, ages, priority
from fleet.observe.broker import PATIENCE, latest, renewals, try_workers
from fleet.observe.queues import Sample
from fleet.observe.states import RECENT
from fleet_node.protocol import HELD, PARKED, SIGNS, WORKERS

MOST_HELD = 100_000
"""Messages of silent workers that are looked at."""
SCAN_SECONDS = 3.0
"""Seconds for finding queues that nobody consumes: results may be in the same database."""


def samples(url: str, seconds: float, lease: float | None) -> tuple[Sample | None, Sample]:
    """The broker now, and, if `seconds` is not 0, that many seconds before. url: with the worker's user. lease: in seconds.
    Raises RedisError."""
    with Redis.from_url(url, decode_responses=True, encoding_errors="surrogateescape", socket_timeout=PATIENCE) as client:
        before = sample(client, url, lease) if seconds else None
        time.sleep(seconds)
        now = sample(client, url, lease)
        return before, replace(now, ages={**unconsumed(client, set(now.ages)), **now.ages})


def sample(client: Any, url: str, lease: float | None) -> Sample:
    """The broker at this moment."""
    prefix = prefix_of(client)
    leases: dict[str, float] = dict(client.zrange(f"{prefix}{WORKERS}", 0, -1, withscores=True))
    answers, problem = try_workers(url, {node_of(holder) for holder in leases}, prefix, counts=True)
    waiting = reading.read(client, prefix)
    renewed = renewals(leases, waiting.now, lease)
    signs = latest(client.hvals(f"{prefix}{SIGNS}"), waiting.now)
    last_signs = {
        node: sign
        for node, (sign, _) in signs.items()
        if node not in answers and (age := renewed.get(node)) is not None and age < RECENT
    }
    silent = [holder for holder in leases if node_of(holder) not in {**answers, **last_signs}]
    return Sample(
        at=waiting.now,
        answers=answers,
        ages=ages(waiting),
        held=held_by(client, prefix, silent),
        returns={
            node_of(holder): None if leases[holder] == float("inf") else max(0.0, leases[holder] - waiting.now)
            for holder in silent
        },
        last_signs=last_signs,
        problem=problem,
        parked=parked_in(client.hvals(f"{prefix}{PARKED}")),
    )


def unconsumed(client: Any, known: Collection[str]) -> dict[str, QueueAge]:
    """Queue → what waits in it, of queues with tasks that no worker of the fleet consumes. known: queues that are no such."""
    prefix, deadline = prefix_of(client), time.monotonic() + SCAN_SECONDS
    waiting: dict[str, dict[int, int]] = {}
    for key in scan(client, _type="list"):
        name = key.removeprefix(prefix)
        queue = queue_of(name)
        if key.startswith(prefix) and queue not in known and is_task(client.lindex(key, -1)):
            waiting.setdefault(queue, {})[priority(name)] = client.llen(key)
        if time.monotonic() > deadline:
            break
    return {queue: QueueAge(lengths, Age(0.0, None), None) for queue, lengths in waiting.items()}


def held_by(client: Any, prefix: str, holders: Iterable[str]) -> dict[str, Mapping[str, int]]:
    """Node → queue → messages that it holds."""
    held: dict[str, Mapping[str, int]] = {}
    left = MOST_HELD
    for holder in holders:
        queues = Counter[str]()
        for _, entry in client.hscan_iter(f"{prefix}{HELD}{holder}", count=1000):
            queues[queue_of(entry.partition(" ")[2].removeprefix(prefix))] += 1
            left -= 1
            if left <= 0:
                break
        held[node_of(holder)] = queues
    return held


def parked_in(letters: Iterable[str]) -> dict[str, int]:
    """Queue → dead letters."""
    queues = Counter[str]()
    for letter in letters:
        entry = entries.loaded(letter)
        if isinstance(entry, dict) and isinstance(entry.get("queue"), str):
            queues[entry["queue"]] += 1
    return queues
