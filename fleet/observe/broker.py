"""What the broker, and the workers through it, say of the fleet. Only read, but for a question to all workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from redis import Redis, RedisError, ResponseError

from fleet.broker import ages as reading
from fleet.broker import beat, entries
from fleet.broker.ages import Waiting
from fleet.broker.beat import BeatView
from fleet.broker.look import node_of, prefix_of
from fleet_node.protocol import CONNECTION, SIGNS, WORKERS, WorkerSign

PATIENCE = 5.0
"""Seconds for Redis to answer."""
ANSWER = 1.0
"""Seconds that workers have to answer, each of two times."""


@dataclass(frozen=True)
class BrokerReport:
    """What was learnt. Times are ages in seconds.

    answers: node → its sign, of those that answered. signs: node → (its last sign in Redis, its age). renewed: node → when its
    lease was last renewed; None if it has none. connected: node → when its connection last said something. waiting: queue →
    messages, of all priorities. problem: why the broker was not asked, or not for everything; empty if it was. is_there: whether
    it answers. beat: what beat processes say of themselves; None if they were not asked.
    """

    answers: Mapping[str, WorkerSign] = field(default_factory=dict)
    signs: Mapping[str, tuple[WorkerSign, float]] = field(default_factory=dict)
    renewed: Mapping[str, float | None] = field(default_factory=dict)
    connected: Mapping[str, float] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    is_there: bool = True
    beat: BeatView | None = None


def ask(url: str, monitor: str, lease: float | None) -> BrokerReport:
    """Ask all. url, monitor: of the broker, for the worker's and for the monitor's user. lease: in seconds. A broker that does
    not answer is a problem in the report, and no error."""
    try:
        with Redis.from_url(url, decode_responses=True, encoding_errors="surrogateescape", socket_timeout=PATIENCE) as client:
            prefix = prefix_of(client)
            signs, renewed, waiting = read(client, prefix, lease)
            beats = beat.read(client, prefix)
    except RedisError as error:
        return absent(f"the broker does not answer: {error}")
    connected, problem = connected_workers(monitor)
    answers, unasked = try_workers(url, {*signs, *renewed}, prefix)
    return BrokerReport(answers, signs, renewed, connected, waiting, problem or unasked, beat=beats)


def absent(problem: str) -> BrokerReport:
    """Of a broker that does not answer."""
    return BrokerReport(problem=problem, is_there=False)


def try_workers(url: str, expected: Collection[str], prefix: str, counts: bool = False) -> tuple[dict[str, WorkerSign], str]:
    """What ask_workers returns, and why they were not asked: a Redis that is full refuses the question."""
    try:
        return ask_workers(url, expected, prefix, counts), ""
    except Exception as error:  # of kombu and redis
        return {}, f"the workers were not asked: {error}"


def ask_workers(url: str, expected: Collection[str], prefix: str = "", counts: bool = False) -> dict[str, WorkerSign]:
    """Node → its answer to `fleet_sign`. expected: nodes that should answer: the silent are asked once more, and if all have
    answered, nothing is waited for. counts: with what they have counted."""
    from celery import Celery

    answers: dict[str, WorkerSign] = {}
    with Celery(broker=url, set_as_current=False) as app:
        app.conf.broker_transport_options = {"global_keyprefix": prefix, "socket_timeout": PATIENCE}
        for attempt in range(2):
            silent = [node for node in expected if node not in answers]
            if attempt and not silent:
                break
            replies = app.control.broadcast(
                "fleet_sign",
                arguments={"counts": counts},
                reply=True,
                timeout=ANSWER,
                limit=len(silent) or None,
                destination=silent if attempt else None,
            )
            for reply in replies or ():
                answers |= {node: sign for node, answer in reply.items() if (sign := entries.sign(answer))}
    return answers


def read(
    client: Any, prefix: str, lease: float | None
) -> tuple[dict[str, tuple[WorkerSign, float]], dict[str, float | None], dict[str, int]]:
    """(signs, renewed, waiting) of a BrokerReport."""
    with client.pipeline(transaction=False) as pipeline:
        pipeline.hvals(f"{prefix}{SIGNS}")
        pipeline.zrange(f"{prefix}{WORKERS}", 0, -1, withscores=True)
        signs, leases = pipeline.execute()
    read = reading.read(client, prefix)
    return latest(signs, read.now), renewals(dict(leases), read.now, lease), _waiting(read)


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


def _waiting(read: Waiting) -> dict[str, int]:
    """Queue → messages in its lists."""
    waiting = Counter[str]()
    for name, queue in read.queues.items():
        waiting[queue] += read.lengths[name]
    return waiting


def connected_workers(url: str) -> tuple[dict[str, float], str]:
    """Node → seconds since its connection said something; and what is wrong with Redis, as why it does not say so. A server that
    others run may refuse to say."""
    connected: dict[str, float] = {}
    problem = ""
    try:
        with Redis.from_url(url, decode_responses=True, encoding_errors="surrogateescape", socket_timeout=PATIENCE) as client:
            with suppress(ResponseError):
                connected = connections(client.client_list())
            with suppress(ResponseError):
                problem = fullness(client.info("memory"))
            return connected, problem
    except RedisError as error:
        return {}, f"the broker does not list its connections: {error}"


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
    """The same of Redis's list of clients."""
    ages: dict[str, float] = {}
    for client in clients:
        name = str(client.get("name") or "")
        if name.startswith(CONNECTION):
            node, idle = name.removeprefix(CONNECTION), float(client.get("idle") or 0)
            ages[node] = min(idle, ages.get(node, idle))
    return ages
