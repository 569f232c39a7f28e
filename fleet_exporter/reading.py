"""Reads a Redis once: at most 20 commands, and two a queue. Nothing is changed, and no message is read. `fleet_exporter.rabbitmq`
reads a RabbitMQ into the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import Redis, ResponseError
from redis.exceptions import NoPermissionError

from fleet_exporter.entries import age_of, label, loaded, signs_of
from fleet_node.protocol import (
    AGES,
    BEAT_LOCK,
    CONNECTION,
    CONSUMED,
    LEFT,
    PARKED,
    PROBE_TASK,
    SIGNS,
    WORKERS,
    ListAge,
    WorkerSign,
)

PATIENCE = 5.0
"""Seconds for Redis to answer."""
FRESH = 5.0
"""Seconds for which the length of a list counts that the fleet wrote down. It does so every second while tasks wait."""
MOST_QUEUES = 500
"""Queues that are read. An app may name them after its users."""
SCANS = 5
"""Steps of a look for the app's global_keyprefix in one reading."""
PRIORITY = "\x06\x16"
"""What kombu writes between a queue's name and a priority in the name of a list."""
PRIORITIES = (3, 6, 9)
"""Those that kombu makes lists of, if an app says nothing else, beside the queue's own."""


@dataclass(frozen=True)
class Reading:
    """What the broker says at one moment. Times are its own, in seconds since 1970.

    signs: holder → its sign, also of workers that have just ended. leases: holder → when its lease ends; +inf if it has none.
    connected: node → seconds since its connection said something. lists: queue → list → messages. ages: list → what the fleet
    wrote down; is_aged: whether a broker of this kind knows that, and what silent workers hold. parked: dead letters. info:
    Redis's own report; nodes: RabbitMQ's of each. consumers: queue → those that the broker counts; empty if it does not.
    is_led: whether a beat leads; None if the broker does not say. prefix: the app's global_keyprefix.
    """

    now: float
    signs: Mapping[str, WorkerSign] = field(default_factory=dict)
    leases: Mapping[str, float] = field(default_factory=dict)
    connected: Mapping[str, float] = field(default_factory=dict)
    lists: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    ages: Mapping[str, ListAge] = field(default_factory=dict)
    parked: int = 0
    info: Mapping[str, Any] = field(default_factory=dict)
    commands: int = 0
    consumers: Mapping[str, int] = field(default_factory=dict)
    is_aged: bool = True
    nodes: Sequence[Mapping[str, Any]] = ()
    is_led: bool | None = None
    prefix: str = ""


class Reader:
    """Reads one broker. It keeps its connection. queues: those that are read in any case. Raises redis.RedisError."""

    def __init__(self, client: Redis, queues: Collection[str] = ()) -> None:
        self._client, self._queues = client, queues
        self._prefix, self._cursor = "", 0
        self._commands = 0

    def read(self) -> Reading:
        """All of it, in three round trips."""
        self._commands = 0
        prefix = self._prefix_of()

        def questions(pipeline: Any) -> None:
            pipeline.info()
            pipeline.hgetall(prefix + SIGNS)
            pipeline.zrange(prefix + WORKERS, 0, -1, withscores=True)
            pipeline.lrange(prefix + LEFT, 0, -1)
            pipeline.zrange(prefix + CONSUMED, 0, -1)
            pipeline.hgetall(prefix + AGES)
            pipeline.hlen(prefix + PARKED)
            pipeline.client_list()
            pipeline.exists(prefix + BEAT_LOCK)

        info, signs, leases, gone, consumers, ages, letters, clients, led = self._ask(questions)
        now = int(info["server_time_usec"]) / 1e6 if info else self._time()
        written = {key: entry for key, text in (ages or {}).items() if (entry := age_of(loaded(text)))}
        lists = lists_of(consumers or [], written, prefix, self._queues)
        return Reading(
            now=now,
            signs=signs_of(signs or {}, gone or []),
            leases={holder: float(ends) for holder, ends in leases or []},
            connected=connections(clients or []),
            lists=self._lengths(lists, self._never_consumed(lists, prefix), written, now),
            ages=written,
            parked=letters or 0,
            info=info or {},
            commands=self._commands,
            is_led=None if led is None else bool(led),
            prefix=prefix,
        )

    def _time(self) -> float:
        """Redis's time."""
        ((seconds, microseconds),) = self._ask(lambda pipeline: pipeline.time())
        return int(seconds) + int(microseconds) / 1e6

    def _prefix_of(self) -> str:
        """The app's global_keyprefix: looked for until a worker has been there, some steps at a time."""
        there, without = self._ask(lambda pipeline: pipeline.exists(self._prefix + WORKERS).exists(WORKERS))
        if there or without:
            self._prefix = self._prefix if there else ""
            return self._prefix
        for _ in range(SCANS):
            (answer,) = self._ask(lambda pipeline: pipeline.scan(self._cursor, match=f"*{WORKERS}", count=1000, _type="zset"))
            self._cursor, keys = answer or (0, [])
            if keys:
                self._prefix = str(keys[0]).removesuffix(WORKERS)
            if keys or not self._cursor:
                break
        return self._prefix

    def _never_consumed(self, lists: Collection[str], prefix: str) -> dict[str, set[str]]:
        """Queue → its lists, as kombu makes them, of those that are read in any case: no worker has ever been there."""
        names = {queue: f"{prefix}{queue}" for queue in self._queues if queue not in lists}
        return {queue: {key, *(f"{key}{PRIORITY}{step}" for step in PRIORITIES)} for queue, key in names.items()}

    def _lengths(
        self,
        lists: Mapping[str, Iterable[str]],
        never: Mapping[str, Iterable[str]],
        written: Mapping[str, ListAge],
        now: float,
    ) -> dict[str, dict[str, int]]:
        """Queue → list → messages: two commands a queue as long as workers say every second how long its other lists are. never:
        queues of which they say nothing."""
        lengths: dict[str, dict[str, int]] = {}
        others: list[tuple[str, str]] = []
        # Lists of which nothing is written yet are empty, or got their first message less than a second ago.
        is_written = any(now - entry["at"] < FRESH for entry in written.values())
        if not (lists or never):
            return {}
        every = {**lists, **never}.items()
        parts = {queue: (names[0], names[1:]) for queue, all_names in every if (names := sorted(all_names))}

        def questions(pipeline: Any) -> None:
            for main, rest in parts.values():
                pipeline.llen(main)
                pipeline.exists(*(rest or (main,)))

        answers = iter(self._ask(questions))
        for queue, (main, rest) in parts.items():
            length, there = next(answers) or 0, next(answers)
            lengths[queue] = {main: length, **dict.fromkeys(rest, 0)}
            if not (rest and there):
                continue
            for key in rest:
                entry = written.get(key)
                if is_written and queue not in never and (entry is None or now - entry["at"] < FRESH):
                    lengths[queue][key] = entry["length"] if entry else 0
                else:
                    others.append((queue, key))
        if others:
            answers_of_others = self._ask(lambda pipeline: [pipeline.llen(key) for _, key in others])
            for (queue, key), answer in zip(others, answers_of_others, strict=True):
                lengths[queue][key] = answer or 0
        return lengths

    def _ask(self, questions: Callable[[Any], object]) -> list[Any]:
        """The answers, in one round trip; None for a key of another type, and for what a server refuses that others run.
        questions: puts them into a pipeline."""
        with self._client.pipeline(transaction=False) as pipeline:
            questions(pipeline)
            self._commands += len(pipeline)
            answers: list[Any] = pipeline.execute(raise_on_error=False)
        for index, answer in enumerate(answers):
            if isinstance(answer, ResponseError) and _is_without(answer):
                answers[index] = None
            elif isinstance(answer, Exception):
                raise answer
        return answers


def _is_without(error: ResponseError) -> bool:
    return isinstance(error, NoPermissionError) or str(error).lower().startswith(("wrongtype", "unknown command"))


def lists_of(consumed: Iterable[str], ages: Iterable[str], prefix: str, first: Collection[str] = ()) -> dict[str, set[str]]:
    """Queue → its lists, of the queues that workers consume, or have consumed and that are not empty. consumed: of
    protocol.CONSUMED. Without those of one worker alone, for probe tasks. first: queues that are read also if there are too
    many."""
    lists: defaultdict[str, set[str]] = defaultdict(set)
    for text in consumed:
        entry = loaded(text)
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and isinstance(entry[1], str):
            lists[label(entry[0])].add(_raw(entry[1]))
    for key in ages:
        lists[label(key.removeprefix(prefix).partition(PRIORITY)[0])].add(key)
    public = sorted(
        (queue for queue in lists if not (queue.startswith(f"{PROBE_TASK}.") or queue.endswith(".dq2"))),
        key=lambda queue: (queue not in first, queue),
    )
    return {queue: lists[queue] for queue in public[:MOST_QUEUES]}


def connections(clients: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Node → seconds since its connection said something. clients: Redis's list."""
    ages: dict[str, float] = {}
    for client in clients:
        own = str(client.get("name") or "")
        if own.startswith(CONNECTION):
            node, idle = label(own.removeprefix(CONNECTION)), float(client.get("idle") or 0)
            ages[node] = min(idle, ages.get(node, idle))
    return ages


def _raw(key: str) -> str:
    """A key that Redis can be asked for."""
    try:
        key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return label(key)
    return key
