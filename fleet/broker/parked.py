"""Parked tasks (see fleet_node/parked.py): what is said of them, and how they go back or go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from fleet.errors import FleetError
from fleet_node.protocol import DELIVERIES, PARKED, SEND_AGAIN


class ParkedError(FleetError):
    """str() is what the user reads."""


def read(broker: Redis) -> list[dict[str, Any]]:
    """All of them, the longest parked first."""
    found = [{**json.loads(text), "field": field} for field, text in broker.hgetall(PARKED).items()]
    return sorted(found, key=lambda one: (one["at"], one["id"]))


def chosen(parked: Sequence[dict[str, Any]], ids: Iterable[str], all_of_them: bool, task: str | None) -> list[dict[str, Any]]:
    """Those that the user means: by the beginnings of their ids, or by task, or all. Raises ParkedError."""
    beginnings = list(ids)
    if sum((bool(beginnings), all_of_them, task is not None)) != 1:
        raise ParkedError("say which: ids (their beginnings suffice), --task NAME, or --all")
    if task is not None:
        found = [one for one in parked if one["task"] == task]
        if not found:
            raise ParkedError(f"--task: none is parked of {task}; parked are: {names(parked)}")
        return found
    picked: dict[str, dict[str, Any]] = {}
    for beginning in beginnings:
        meant = [one for one in parked if one["id"].startswith(beginning)]
        if len({one["id"] for one in meant}) != 1:  # an app may send two messages with one id
            what = f"{len(meant)} are meant by it" if meant else f"none is parked with that id; parked are: {names(parked)}"
            raise ParkedError(f"{beginning}: {what}")
        picked |= {one["field"]: one for one in meant}
    return list(picked.values()) if beginnings else list(parked)


def names(parked: Sequence[dict[str, Any]]) -> str:
    """Which tasks, for messages."""
    return ", ".join(sorted({one["task"] for one in parked})) or "none"


def expired(one: Mapping[str, Any], now: datetime) -> str:
    """Since when whoever takes it would throw it away; empty where it would not."""
    text = one.get("expires")
    try:
        at = datetime.fromisoformat(text) if text else None
    except (TypeError, ValueError):
        return ""
    if at is None:
        return ""
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at <= now else ""


def requeue(broker: Redis, parked: Iterable[dict[str, Any]]) -> int:
    """Put them at the end of the queue that they came from, as if they had never been tried. How many: one that somebody else
    sent a moment ago is not sent again. Raises RedisError where the broker takes nothing; what was not sent is parked still."""
    moved = 0
    for one in parked:
        message = one["message"]
        message["headers"].pop("redelivered", None)
        message["properties"]["delivery_info"].pop("redelivered", None)
        keys = (PARKED, one["key"], _count_of(one))
        moved += int(broker.eval(SEND_AGAIN, len(keys), *keys, one["field"], json.dumps(message)))
    return moved


def drop(broker: Redis, parked: Iterable[dict[str, Any]]) -> int:
    """Throw them away. How many."""
    meant = list(parked)
    if not meant:
        return 0
    broker.delete(*map(_count_of, meant))
    return int(broker.hdel(PARKED, *(one["field"] for one in meant)))


def _count_of(one: Mapping[str, Any]) -> str:
    """Where workers keep how often it came."""
    return f"{DELIVERIES}{one['field']}"


def told(one: dict[str, Any]) -> str:
    """Two lines for people."""
    at = datetime.fromtimestamp(one["at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    arguments = " ".join(filter(None, [one["args"], one["kwargs"] if one["kwargs"] not in ("", "{}") else ""]))
    after = "" if one.get("unknown") else f" after {one['redelivered']} redeliveries,"
    return (
        f"{one['id'][:8]}  {at}  {one['task']} {arguments}\n"
        f"          from {one['queue']},{after} by {one['worker']}: {one['reason']}"
    )
