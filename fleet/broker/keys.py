"""Names of keys in Redis: of kombu's lists, of the app's prefix, and of what workers write down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from redis import ResponseError

from fleet_node.protocol import PROBE_TASK, WORKERS

PRIORITY = "\x06\x16"
"""What kombu writes between a queue's name and a priority in the name of a list."""


def prefix_of(client: Any) -> str:
    """What the app has before the names of all keys (global_keyprefix), as a worker that has been there shows. Most have none."""
    if client.exists(WORKERS):
        return ""
    key = next(scan(client, match=f"*{WORKERS}", _type="zset"), WORKERS)
    return str(key).removesuffix(WORKERS)


def scan(client: Any, **what: str) -> Iterator[str]:
    """Keys, as scan_iter has them; none if a server that others run refuses to say."""
    with suppress(ResponseError):
        yield from client.scan_iter(count=1000, **what)


def origins(client: Any, key: str) -> Iterator[str]:
    """The lists from which a worker's messages came."""
    for _, entry in client.hscan_iter(key, count=1000):
        yield entry.partition(" ")[2]


def node_of(holder: str) -> str:
    """The node of a holder (protocol.WORKERS)."""
    return holder.rsplit("|", 4)[0]


def queue_of(name: str) -> str:
    """The queue of a list."""
    return name.partition(PRIORITY)[0]


def priority(name: str) -> int:
    """The priority of a list: kombu's name for it ends with it, but for 0."""
    number = name.partition(PRIORITY)[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 4 else 0


def is_public(queue: str) -> bool:
    """Whether a queue is none of one worker alone: for the probe tasks of a gate, or Celery's worker_direct."""
    return not (queue.startswith(f"{PROBE_TASK}.") or queue.endswith(".dq2"))


def is_task(message: str | None) -> bool:
    """Whether an entry of a list is a message of Celery's."""
    try:
        return bool(json.loads(message or "")["headers"]["task"])
    except (ValueError, KeyError, TypeError):
        return False
