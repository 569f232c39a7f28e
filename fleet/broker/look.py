"""What the broker knows of queues and of workers that are alive. Nothing is changed.

`python -m fleet.broker.look` reads the broker's URL on stdin, and prints a BrokerView as JSON (`fleet.broker.aside`).
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from redis import Redis, ResponseError

from fleet.broker import aside, entries
from fleet.broker.view import BrokerView, parse
from fleet.errors import FleetError
from fleet_node.protocol import CONSUMED, HELD, PROBE_TASK, WORKERS

PATIENCE = 10.0
"""Seconds for reading keys and what workers hold."""
ANSWER = 1.0
"""Seconds that workers have to say what they consume."""
PRIORITY = "\x06\x16"
"""What kombu writes between a queue's name and a priority in the name of a list."""
SPOKEN_OF = 3600
"""Seconds for which a queue counts as consumed since a worker said that it consumes it. Workers say so every ten minutes."""


class LookError(FleetError):
    """The broker was not asked. str() says why."""


def look(url: str, timeout: float = 60) -> BrokerView:
    """Ask in a process of its own. Raises LookError."""
    return parse(aside.ask("fleet.broker.look", url, timeout, LookError))


def ask(url: str) -> BrokerView:
    """Ask in this process. Raises RedisError."""
    from celery import Celery

    with Redis.from_url(url, decode_responses=True, encoding_errors="surrogateescape", socket_timeout=PATIENCE) as client:
        deadline = time.monotonic() + PATIENCE
        prefix = prefix_of(client)
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
            held.update(queue_of(name.removeprefix(prefix)) for name in _origins(client, key))
        # A lease that never ends says nothing: such a worker is alive if it answers.
        alive: Any = client.zrangebyscore(f"{prefix}{WORKERS}", seconds, "(+inf")
    with Celery(broker=url, set_as_current=False) as app:
        app.conf.broker_transport_options = {"global_keyprefix": prefix}
        answers = app.control.inspect(timeout=ANSWER).active_queues() or {}
    workers: dict[str, tuple[str, ...]] = {node_of(holder): () for holder in alive}
    workers |= {node: tuple(queue["name"] for queue in queues) for node, queues in answers.items()}
    return BrokerView(_public(waiting), _public(held), tuple(sorted(consumed)), workers, whole)


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


def _origins(client: Any, key: str) -> Iterator[str]:
    """The lists from which a worker's messages came."""
    for _, entry in client.hscan_iter(key, count=1000):
        yield entry.partition(" ")[2]


def node_of(holder: str) -> str:
    """The node of a holder (protocol.WORKERS)."""
    return holder.rsplit("|", 4)[0]


def queue_of(name: str) -> str:
    """The queue of a list."""
    return name.partition(PRIORITY)[0]


def _public(queues: Mapping[str, int]) -> dict[str, int]:
    """Without queues that are of one worker: for the probe tasks of a gate, or Celery's worker_direct."""
    return {
        queue: number for queue, number in queues.items() if not (queue.startswith(f"{PROBE_TASK}.") or queue.endswith(".dq2"))
    }


def is_task(message: str | None) -> bool:
    """Whether an entry of a list is a message of Celery's."""
    try:
        return bool(json.loads(message or "")["headers"]["task"])
    except (ValueError, KeyError, TypeError):
        return False


if __name__ == "__main__":
    sys.exit(aside.answer(ask, lambda error: f"{type(error).__name__}: {error}"))
