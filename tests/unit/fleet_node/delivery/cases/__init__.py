"""What an app may do with its broker inside a task, or beside its tasks, and what Celery and kombu give as they are.

A case is a function of the app and of a name that is its alone, for queues and keys. It runs in a task of a worker, and returns
what it is declared with: with the patches of fleet_node and without them (`test_broker_in_tasks`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import kombu
from celery import Celery

POOLS = ("prefork", "threads", "gevent")
PATIENCE = 10.0
"""Seconds for what has to happen; nothing waits for it to end."""
SHORT = 0.2
"""Seconds in which nothing is to happen."""


@dataclass(frozen=True)
class Case:
    """A case. gives: what it returns. pools: those that can do it, in Celery as it is."""

    run: Callable[[Celery, str], Any]
    gives: Any
    pools: tuple[str, ...]


CASES: dict[str, Case] = {}


def case(gives: Any, pools: tuple[str, ...] = POOLS) -> Callable[[Callable[[Celery, str], Any]], Callable[[Celery, str], Any]]:
    """Declare a case, and what it gives."""

    def declare(run: Callable[[Celery, str], Any]) -> Callable[[Celery, str], Any]:
        assert run.__name__ not in CASES
        CASES[run.__name__] = Case(run, gives, pools)
        return run

    return declare


def connected(app: Celery, **options: Any) -> Any:
    """A connection of the case's own, a context."""
    return app.connection_for_write(**options)


def raised(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The name of what a call raises; empty if nothing."""
    try:
        function(*args, **kwargs)
    except Exception as error:
        return type(error).__name__
    return ""


def until(what: Callable[[], Any]) -> Any:
    """What a function gives, as soon as that is true; the last it gave if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def fill(channel: Any, queue: str, *bodies: Any, **properties: Any) -> None:
    """Send messages to a queue by the default exchange."""
    with kombu.Producer(channel) as producer:
        for body in bodies:
            producer.publish(body, routing_key=queue, declare=[kombu.Queue(queue)], **properties)


def drain(connection: Any, number: int) -> None:
    """Let consumers have so many messages, or those that come in time."""
    with suppress(TimeoutError):
        for _ in range(number):
            connection.drain_events(timeout=PATIENCE)


def drain_all(connection: Any, number: int) -> None:
    """Let consumers have so many messages, and more if more come."""
    drain(connection, number)
    with suppress(TimeoutError):
        while True:
            connection.drain_events(timeout=SHORT)


@contextmanager
def consuming(channel: Any, *queues: Any, ack: bool = False, **options: Any) -> Iterator[list[Any]]:
    """Messages, as a consumer gets them. queues: names, or kombu's. ack: acknowledge them at once."""
    got: list[Any] = []

    def take(message: Any) -> None:
        got.append(message)
        if ack:
            message.ack()

    with kombu.Consumer(channel, [kombu.Queue(q) if isinstance(q, str) else q for q in queues], on_message=take, **options):
        yield got


def bodies(messages: list[Any]) -> list[Any]:
    """What messages say."""
    return [message.decode() for message in messages]


def rest(channel: Any, queue: str) -> list[Any]:
    """What is in a queue, the next first; afterwards it is empty."""
    got = []
    while message := channel.basic_get(queue, no_ack=True):
        got.append(message.decode())
    return got


def written_down(app: Celery, queue: str) -> int:
    """How many messages of a queue somebody has and has not acknowledged."""
    with connected(app) as connection:
        client = connection.default_channel.client
        entries = [json.loads(text) for text in client.hvals("unacked")]
    return sum(routing_key == queue for _, _, routing_key in entries)
