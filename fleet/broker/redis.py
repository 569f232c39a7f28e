"""Redis, as the control side asks it: queues are lists, and workers write down what they do. See `fleet.broker.port`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from redis import Redis, RedisError, ResponseError

from fleet.broker import ages as reading
from fleet.broker import beat, entries, parked
from fleet.broker.ages import Age, QueueAge
from fleet.broker.beat import BeatView
from fleet.broker.keys import is_public, is_task, node_of, origins, prefix_of, priority, queue_of, scan
from fleet.broker.port import AwayError, Health, Moment, first_line
from fleet.broker.view import BrokerView
from fleet_node.protocol import CONNECTION, CONSUMED, HELD, PARKED, SIGNS, WORKERS, ParkedTask, WorkerSign

MOST_HELD = 100_000
"""Messages of silent workers that are looked at."""
SCAN_SECONDS = 3.0
"""Seconds for finding queues that nobody consumes: results may be in the same database."""
LOOK_SECONDS = 10.0
"""Seconds of a preflight for reading keys and what workers hold."""
SPOKEN_OF = 3600
"""Seconds for which a queue counts as consumed since a worker said that it consumes it. Workers say so every ten minutes."""
ANSWER = 1.0
"""Seconds that workers have to say what they consume."""


@contextmanager
def opened(url: str, monitor: str, patience: float) -> Iterator[RedisPort]:
    """See `fleet.broker.port.opened`."""
    try:
        with _client(url, patience) as client:
            yield RedisPort(client, url, monitor, patience)
    except (RedisError, OSError) as error:
        raise AwayError(first_line(error)) from None


def _client(url: str, patience: float) -> Redis:
    return Redis.from_url(url, decode_responses=True, encoding_errors="surrogateescape", socket_timeout=patience)


class RedisPort:
    """See Port."""

    unknown: Mapping[str, str] = {}

    client: Any
    """Redis's, that answers with text."""

    def __init__(self, client: Redis, url: str, monitor: str, patience: float) -> None:
        self.client, self.url, self._monitor, self._patience = client, url, monitor, patience
        self._prefix: str | None = None

    @property
    def prefix(self) -> str:
        """The app's global_keyprefix. It is looked for until a worker has been there."""
        if not self._prefix:
            self._prefix = prefix_of(self.client)
        return self._prefix

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"broker_transport_options": {"global_keyprefix": self.prefix, "socket_timeout": self._patience}}

    def leases(self) -> dict[str, float]:
        leases: Any = self.client.zrange(f"{self.prefix}{WORKERS}", 0, -1, withscores=True)
        return dict(leases)

    def moment(self, lease: float | None, queues: Iterable[str] = ()) -> Moment:
        """Of all queues that workers consume, or have consumed and that are not empty."""
        prefix = self.prefix
        with self.client.pipeline(transaction=False) as pipeline:
            pipeline.hvals(f"{prefix}{SIGNS}")
            pipeline.zrange(f"{prefix}{WORKERS}", 0, -1, withscores=True)
            pipeline.hvals(f"{prefix}{PARKED}")
            signs, leases, letters = pipeline.execute()
        waiting = reading.read(self.client, prefix)
        return Moment(
            at=waiting.now,
            ages=reading.ages(waiting),
            signs=latest(signs, waiting.now),
            renewed=renewals(dict(leases), waiting.now, lease),
            parked=parked_in(letters),
        )

    def held(self, holders: Iterable[str]) -> dict[str, Mapping[str, int]]:
        held: dict[str, Mapping[str, int]] = {}
        left = MOST_HELD
        for holder in holders:
            queues = Counter[str]()
            for name in origins(self.client, f"{self.prefix}{HELD}{holder}"):
                queues[queue_of(name.removeprefix(self.prefix))] += 1
                left -= 1
                if left <= 0:
                    break
            held[node_of(holder)] = queues
        return held

    def unconsumed(self, known: Collection[str]) -> dict[str, QueueAge]:
        client, prefix, deadline = self.client, self.prefix, time.monotonic() + SCAN_SECONDS
        waiting: dict[str, dict[int, int]] = {}
        for key in scan(client, _type="list"):
            name = key.removeprefix(prefix)
            queue = queue_of(name)
            if key.startswith(prefix) and queue not in known and is_task(client.lindex(key, -1)):
                waiting.setdefault(queue, {})[priority(name)] = client.llen(key)
            if time.monotonic() > deadline:
                break
        return {queue: QueueAge(lengths, Age(0.0, None), None) for queue, lengths in waiting.items()}

    def length(self, queue: str) -> int:
        return int(self.client.llen(f"{self.prefix}{queue}"))

    def beat(self) -> BeatView:
        return beat.read(self.client, self.prefix)

    def present(self, nodes: Iterable[str]) -> dict[str, bool]:
        return {}

    def health(self) -> Health:
        """A server that others run may refuse to say."""
        connected: dict[str, float] = {}
        problem = ""
        try:
            with _client(self._monitor, self._patience) as client:
                with suppress(ResponseError):
                    connected = connections(client.client_list())
                with suppress(ResponseError):
                    problem = fullness(client.info("memory"))
                return Health(problem, connected)
        except RedisError as error:
            return Health(f"the broker does not list its connections: {error}")

    def view(self, queues: Iterable[str] = ()) -> BrokerView:
        from celery import Celery

        client, prefix = self.client, self.prefix
        deadline = time.monotonic() + LOOK_SECONDS
        seconds, _ = client.time()
        spoken_of: Any = client.zrangebyscore(f"{prefix}{CONSUMED}", seconds - SPOKEN_OF, "+inf")
        consumed = {queue for queue, _ in entries.consumed(spoken_of)}
        waiting, held = Counter[str](), Counter[str]()
        whole = True
        for key in scan(client, _type="list"):
            queue = queue_of(key.removeprefix(prefix))
            if key.startswith(prefix) and (queue in consumed or is_task(client.lindex(key, -1))):
                waiting[queue] += client.llen(key)
            if time.monotonic() > deadline:
                whole = False
                break
        for key in scan(client, match=f"{prefix}{HELD}*"):
            held.update(queue_of(name.removeprefix(prefix)) for name in origins(client, key))
        # A lease that never ends says nothing: such a worker is alive if it answers.
        alive: Any = client.zrangebyscore(f"{prefix}{WORKERS}", seconds, "(+inf")
        with Celery(broker=self.url, set_as_current=False) as app:
            app.conf.broker_transport_options = {"global_keyprefix": prefix}
            answers = app.control.inspect(timeout=ANSWER).active_queues() or {}
        workers: dict[str, tuple[str, ...]] = {node_of(holder): () for holder in alive}
        workers |= {node: tuple(queue["name"] for queue in queues) for node, queues in answers.items()}
        return BrokerView(_public(waiting), _public(held), tuple(sorted(consumed)), workers, whole)

    def letters(self) -> list[ParkedTask]:
        return parked.read(self.client)

    def requeue(self, letters: Sequence[ParkedTask]) -> int:
        return parked.requeue(self.client, letters)

    def drop(self, letters: Sequence[ParkedTask]) -> int:
        return parked.drop(self.client, letters)


def _public(queues: Mapping[str, int]) -> dict[str, int]:
    return {queue: number for queue, number in queues.items() if is_public(queue)}


def latest(texts: Iterable[str], now: float) -> dict[str, tuple[WorkerSign, float]]:
    """Node → its youngest sign, and its age. texts: the signs as JSON. now: Redis's time."""
    signs: dict[str, tuple[WorkerSign, float]] = {}
    for text in texts:
        sign = entries.sign(entries.loaded(text))
        if sign is None:
            continue
        node, age = sign["node"], max(0.0, now - sign["at"])
        if node not in signs or age < signs[node][1]:
            signs[node] = (sign, age)
    return signs


def renewals(leases: Mapping[str, float], now: float, lease: float | None) -> dict[str, float | None]:
    """Node → how long ago its lease was renewed. leases: holder → Redis's time at which its lease ends."""
    ages: dict[str, float | None] = {}
    for holder, ends in leases.items():
        node = node_of(holder)
        age = None if lease is None or ends == float("inf") else max(0.0, now - (ends - lease))
        known = ages.get(node)
        ages[node] = age if known is None or age is None else min(age, known)
    return ages


def parked_in(letters: Iterable[str]) -> dict[str, int]:
    """Queue → dead letters."""
    queues = Counter[str]()
    for letter in letters:
        entry = entries.loaded(letter)
        if isinstance(entry, dict) and isinstance(entry.get("queue"), str):
            queues[entry["queue"]] += 1
    return queues


def fullness(memory: Mapping[str, Any]) -> str:
    """Why a Redis takes no new tasks, and workers cannot answer; empty if it does. memory: that section of INFO."""
    used, most = int(memory.get("used_memory") or 0), int(memory.get("maxmemory") or 0)
    if not most or used < most:
        return ""
    return (
        f"the broker is full ({used >> 20} of {most >> 20} MB): it takes no new tasks, and workers cannot answer through it; "
        "work its queues off, or raise broker.maxmemory"
    )


def connections(clients: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Node → seconds since its connection said something. clients: Redis's list."""
    ages: dict[str, float] = {}
    for client in clients:
        name = str(client.get("name") or "")
        if name.startswith(CONNECTION):
            node, idle = name.removeprefix(CONNECTION), float(client.get("idle") or 0)
            ages[node] = min(idle, ages.get(node, idle))
    return ages
