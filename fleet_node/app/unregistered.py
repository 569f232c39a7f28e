"""`python -m fleet_node.unregistered APP QUEUE…`: tasks that wait or are in flight, and that this release does not have.

Reads the worker's environment as NAME=value lines on stdin. Prints one JSON object on a line of its own, after `fleet-tasks: `:
{"unregistered": {queue: {task: number}}, "looked_at": number, "not_looked_at": number}. Reads and changes nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from fleet_node.app.check import take_environment

MARK = "fleet-tasks: "
PATIENCE = 20.0
"""Seconds that it looks; a queue of a million messages takes longer, and what is left out is told."""
CHUNK = 200


def find(app: Any, queues: Iterable[str], patience: float = PATIENCE) -> dict[str, Any]:
    """The report. Raises what Redis raises."""
    deadline = time.monotonic() + patience
    known = frozenset(app.tasks)
    unregistered: dict[str, Counter[str]] = {}
    looked = left = 0
    wanted = tuple(queues)
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        client, prefix = channel.client, channel.global_keyprefix  # kombu adds it to the commands that it uses itself
        # First what workers hold: it is never much. By what routing key it came is the app's affair, so no queue is left out.
        held = client.hlen(channel.unacked_key)
        for name in _in_flight(client, prefix + channel.unacked_key, deadline):
            looked += 1
            if name not in known:
                unregistered.setdefault("in flight", Counter())[name] += 1
        left += max(0, held - looked)
        for queue in wanted:
            for key in {channel._q_for_pri(queue, step) for step in channel.priority_steps}:
                length, start = client.llen(key), 0
                while start < length and time.monotonic() < deadline:
                    # From the head, where the next ones are taken.
                    messages = client.lrange(prefix + key, max(0, length - start - CHUNK), length - start - 1)
                    for waiting in map(_name, messages):
                        if waiting is not None and waiting not in known:
                            unregistered.setdefault(queue, Counter())[waiting] += 1
                    start += CHUNK
                looked += min(start, length)
                left += max(0, length - start)
    return {"unregistered": unregistered, "looked_at": looked, "not_looked_at": left}


def _in_flight(client: Any, key: str, deadline: float) -> Iterator[str]:
    """The task of each message that a worker holds."""
    cursor = 0
    while time.monotonic() < deadline:
        cursor, entries = client.hscan(key, cursor, count=CHUNK)
        for entry in entries.values():
            try:
                yield json.loads(entry)[0]["headers"]["task"]
            except (ValueError, KeyError, TypeError, IndexError):
                continue
        if not cursor:
            return


def _name(message: bytes) -> str | None:
    """The task that a message is for; None where it is none of Celery's."""
    try:
        name = json.loads(message)["headers"]["task"]
    except (ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def main() -> int:
    app_name, *queues = sys.argv[1:]
    take_environment()
    from celery.app.utils import find_app

    from fleet_node.worker import settings

    app = find_app(app_name)
    app.loader.import_default_modules()
    app.loader.import_task_module("fleet_node.worker")  # as -I does
    app.finalize()
    settings.apply(app)
    found = find(app, queues)
    sys.stdout.write(f"\n{MARK}{json.dumps(found)}\n")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread that the app has started would keep us
