"""Dead letters in RabbitMQ: messages of the queue DEAD_LETTERS, which nobody consumes. Workers park there, and RabbitMQ does so
itself with what came back too often.

A message is shown only by handing it out. All are taken in one channel; those that stay are back a moment after it closes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from amqp import Message
from amqp.exceptions import AMQPError, NotFound

from fleet.broker.parked import ParkedError
from fleet_node.protocol import DEAD_LETTERS, DELIVERIES, PARKED_HEADER, ParkedTask

MOST = 10_000
"""Dead letters that are read at a time."""
LONGEST = 2000
"""Characters of arguments that are shown."""
BACK = 3.0
"""Seconds for RabbitMQ to put back what was handed out."""
CONFIRM = 10.0
"""Seconds for RabbitMQ to confirm a message."""
ITS_OWN = ("x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason", "x-delivery-count")
"""Headers with which RabbitMQ counts. A message that is sent again has none."""


def read(connection: Any) -> list[ParkedTask]:
    """All of them, the longest parked first. connection: of amqp."""
    with _taken(connection) as (messages, _):
        letters = [letter_of(message) for message in messages]
    return sorted(letters, key=lambda letter: (letter["at"], letter["id"]))


def requeue(connection: Any, letters: Sequence[ParkedTask], count: Callable[[str], object]) -> int:
    """Send letters again. count: of a queue; None if there is none. Raises ParkedError if a queue is gone: RabbitMQ would throw
    its tasks away."""
    if gone := sorted({letter["queue"] for letter in letters if count(letter["queue"]) is None}):
        raise ParkedError(f"RabbitMQ has no queue {', '.join(gone)}: nothing was sent again; start a worker that consumes it")

    def send(channel: Any, message: Any, letter: ParkedTask) -> None:
        channel.basic_publish(copy_of(message), routing_key=letter["queue"], confirm_timeout=CONFIRM)

    return _settle(connection, letters, send)


def drop(connection: Any, letters: Sequence[ParkedTask]) -> int:
    """Throw letters away."""
    return _settle(connection, letters, lambda *_: None)


def _settle(connection: Any, letters: Sequence[ParkedTask], do: Callable[[Any, Any, ParkedTask], None]) -> int:
    """Do something with each of these letters that is still there, once, and acknowledge it: if that is cut off in between, the
    letter stays."""
    left = {letter["field"] for letter in letters}
    with _taken(connection) as (messages, settled):
        for message in messages:
            letter = letter_of(message)
            if letter["field"] not in left:
                continue
            left.remove(letter["field"])
            do(message.channel, message, letter)
            message.channel.basic_ack(message.delivery_tag)
            with suppress(NotFound):
                message.channel.queue_delete(f"{DELIVERIES}{letter['id']}")  # how often it was begun
            settled.append(letter["id"])
            if not left:
                break
        return len(settled)


@contextmanager
def _taken(connection: Any) -> Iterator[tuple[Iterator[Any], list[str]]]:
    """The messages, each as it is taken, and a list into which the ids of those go that are acknowledged. The others are back
    afterwards."""
    channel = connection.channel()
    settled: list[str] = []
    number = 0

    def messages() -> Iterator[Any]:
        nonlocal number
        number = _length(channel)
        for _ in range(min(number, MOST)):
            message = channel.basic_get(DEAD_LETTERS)
            if message is None:
                return
            yield message

    try:
        yield messages(), settled
    finally:
        if channel.is_open:
            with suppress(AMQPError, OSError):
                channel.close()
    _wait_until_back(connection, number - len(settled))


def _length(channel: Any) -> int:
    """Letters that nobody has taken; 0 if nothing was ever parked."""
    try:
        return int(channel.queue_declare(DEAD_LETTERS, passive=True).message_count)
    except NotFound:
        return 0


def _wait_until_back(connection: Any, number: int) -> None:
    """Wait until so many letters are there to be taken, for BACK: whoever takes them next would find too few."""
    if number <= 0:
        return
    channel, deadline = connection.channel(), time.monotonic() + BACK
    try:
        while _length(channel) < number and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        channel.close()


def letter_of(message: Any) -> ParkedTask:
    """The ParkedTask of an amqp message. `key` and `message` are of Redis alone, and empty."""
    headers = _headers(message)
    about = _about(headers)
    death: Mapping[str, Any] = next(iter(headers.get("x-death") or ()), {})
    count = headers.get("x-delivery-count")
    at = float(about.get("at") or _seconds(death.get("time")))
    task_id = str(headers.get("id") or message.properties.get("correlation_id") or "")
    letter: ParkedTask = {
        "field": f"{task_id}|{at}",
        "id": task_id,
        "task": str(headers.get("task") or ""),
        "args": str(headers.get("argsrepr") or "")[:LONGEST],
        "kwargs": str(headers.get("kwargsrepr") or "")[:LONGEST],
        "queue": str(about.get("queue") or death.get("queue") or ""),
        "redelivered": int(about.get("redelivered") or (count if isinstance(count, int) else 0)),
        "reason": str(about.get("reason") or f"RabbitMQ gave it up: {death.get('reason') or 'it does not say why'}"),
        "worker": str(about.get("worker") or "RabbitMQ"),
        "at": at,
        "expires": headers.get("expires"),
        "key": "",
        "message": {},
    }
    if about.get("unknown"):
        letter["unknown"] = True
    return letter


def _headers(message: Any) -> Mapping[str, Any]:
    headers: Mapping[str, Any] = message.properties.get("application_headers") or {}
    return headers


def _about(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a worker says of it (protocol.ParkedHeader); empty if RabbitMQ has parked it."""
    try:
        about = json.loads(headers.get(PARKED_HEADER) or "{}")
    except (ValueError, TypeError):
        return {}
    return about if isinstance(about, dict) else {}


def _seconds(value: Any) -> float:
    """Seconds since 1970 of a time that py-amqp has read, which is in UTC."""
    return value.replace(tzinfo=value.tzinfo or UTC).timestamp() if isinstance(value, datetime) else 0.0


def copy_of(message: Any) -> Message:
    """A message as it was before it was parked."""
    properties = {name: value for name, value in message.properties.items() if value is not None}
    headers = properties.pop("application_headers", None) or {}
    own = {name: value for name, value in headers.items() if name != PARKED_HEADER and name not in ITS_OWN}
    return Message(message.body, application_headers=own, **{"delivery_mode": 2, **properties})
