"""Parked tasks (see fleet_node/parked.py): what is said of them, and how they go back or go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from redis import Redis

PARKED = "fleet.parked"


class ParkedError(Exception):
    """str() is what the user reads."""


def read(broker: Redis) -> list[dict[str, Any]]:
    """All of them, the longest parked first."""
    found = [json.loads(text) for text in broker.hvals(PARKED)]
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
    picked = {}
    for beginning in beginnings:
        meant = [one for one in parked if one["id"].startswith(beginning)]
        if len(meant) != 1:
            what = f"{len(meant)} are meant by it" if meant else f"none is parked with that id; parked are: {names(parked)}"
            raise ParkedError(f"{beginning}: {what}")
        picked[meant[0]["id"]] = meant[0]
    return list(picked.values()) if beginnings else list(parked)


def names(parked: Sequence[dict[str, Any]]) -> str:
    """Which tasks, for messages."""
    return ", ".join(sorted({one["task"] for one in parked})) or "none"


def requeue(broker: Redis, parked: Iterable[dict[str, Any]]) -> int:
    """Put them at the end of the queue that they came from, as if they had never been tried. How many."""
    moved = 0
    for one in parked:
        message = one["message"]
        message["headers"].pop("redelivered", None)
        message["properties"]["delivery_info"].pop("redelivered", None)
        # Who removes it from the list may send it: two commands at once send it once.
        if broker.hdel(PARKED, one["id"]):
            with broker.pipeline() as pipeline:
                pipeline.delete(f"fleet.deliveries.{one['id']}")
                pipeline.lpush(one["key"], json.dumps(message))
                pipeline.execute()
            moved += 1
    return moved


def drop(broker: Redis, parked: Iterable[dict[str, Any]]) -> int:
    """Throw them away. How many."""
    ids = [one["id"] for one in parked]
    if not ids:
        return 0
    broker.delete(*(f"fleet.deliveries.{one}" for one in ids))
    return int(broker.hdel(PARKED, *ids))


def told(one: dict[str, Any]) -> str:
    """Two lines for people."""
    at = datetime.fromtimestamp(one["at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    arguments = " ".join(filter(None, [one["args"], one["kwargs"] if one["kwargs"] not in ("", "{}") else ""]))
    return (
        f"{one['id'][:8]}  {at}  {one['task']} {arguments}\n"
        f"          from {one['queue']}, after {one['redelivered']} redeliveries, by {one['worker']}: {one['reason']}"
    )
