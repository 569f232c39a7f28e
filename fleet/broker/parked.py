"""Dead letters: tasks that a worker has parked (fleet_node/worker/parking.py). Lists them, sends them again, or drops them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from fleet.errors import FleetError
from fleet_node.protocol import DELIVERIES, PARKED, SEND_AGAIN, ParkedTask


class ParkedError(FleetError):
    """The user names no parked task, or too many. str() is what the user reads."""


def read(broker: Redis) -> list[ParkedTask]:
    """All parked tasks, the longest parked first."""
    letters: list[ParkedTask] = [json.loads(text) for text in broker.hvals(PARKED)]
    return sorted(letters, key=lambda letter: (letter["at"], letter["id"]))


def chosen(parked: Sequence[ParkedTask], ids: Iterable[str], everything: bool, task: str | None) -> list[ParkedTask]:
    """The parked tasks that the user names: by the beginnings of their ids, by task, or all. Raises ParkedError."""
    beginnings = list(ids)
    if sum((bool(beginnings), everything, task is not None)) != 1:
        raise ParkedError("say which: ids (their beginnings suffice), --task NAME, or --all")
    if task is not None:
        of_task = [letter for letter in parked if letter["task"] == task]
        if not of_task:
            raise ParkedError(f"--task: none is parked of {task}; parked are: {names(parked)}")
        return of_task
    picked: dict[str, ParkedTask] = {}
    for beginning in beginnings:
        matches = [letter for letter in parked if letter["id"].startswith(beginning)]
        if len({letter["id"] for letter in matches}) != 1:  # an app may send two messages with the same id
            none = f"none is parked with that id; parked are: {names(parked)}"
            raise ParkedError(f"{beginning}: {f'{len(matches)} are meant by it' if matches else none}")
        picked |= {letter["field"]: letter for letter in matches}
    return list(picked.values()) if beginnings else list(parked)


def names(parked: Sequence[ParkedTask]) -> str:
    """The names of the parked tasks, for messages."""
    return ", ".join(sorted({letter["task"] for letter in parked})) or "none"


def expired(letter: Mapping[str, Any], now: datetime) -> str:
    """When a parked task expired: a worker would throw it away. Empty if it has not."""
    text = letter.get("expires")
    try:
        at = datetime.fromisoformat(text) if text else None
    except (TypeError, ValueError):
        return ""
    if at is None:
        return ""
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at <= now else ""


def requeue(broker: Redis, parked: Iterable[ParkedTask]) -> int:
    """Put tasks at the end of the queue that they came from, as if they had never been tried. Returns how many.

    A task that another user or a worker sent a moment ago is not sent again. Raises RedisError if the broker takes nothing; tasks
    that were not sent stay parked.
    """
    moved = 0
    for letter in parked:
        message = letter["message"]
        message["headers"].pop("redelivered", None)
        message["properties"]["delivery_info"].pop("redelivered", None)
        keys = (PARKED, letter["key"], _deliveries(letter))
        moved += int(broker.eval(SEND_AGAIN, len(keys), *keys, letter["field"], json.dumps(message)))
    return moved


def drop(broker: Redis, parked: Iterable[ParkedTask]) -> int:
    """Throw tasks away. Returns how many."""
    letters = list(parked)
    if not letters:
        return 0
    broker.delete(*map(_deliveries, letters))
    return int(broker.hdel(PARKED, *(letter["field"] for letter in letters)))


def _deliveries(letter: ParkedTask) -> str:
    """The key in which workers count how often the message came."""
    return f"{DELIVERIES}{letter['field']}"


def describe(letter: ParkedTask) -> str:
    """A parked task in two lines, for people."""
    at = datetime.fromtimestamp(letter["at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    arguments = " ".join(filter(None, [letter["args"], letter["kwargs"] if letter["kwargs"] not in ("", "{}") else ""]))
    after = "" if letter.get("unknown") else f" after {letter['redelivered']} redeliveries,"
    return (
        f"{letter['id'][:8]}  {at}  {letter['task']} {arguments}\n"
        f"          from {letter['queue']},{after} by {letter['worker']}: {letter['reason']}"
    )
