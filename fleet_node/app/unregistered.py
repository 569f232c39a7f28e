"""`python -m fleet_node.app.unregistered APP QUEUE…`: tasks that wait or are in flight, and that this release does not have.

It reads the worker's environment as NAME=value lines on stdin, and prints an UnregisteredTasks (`fleet_node.protocol`) on a line
of its own, after TASKS_MARK. It changes nothing.
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
from fleet_node.protocol import DRILL_TASK, TASKS_MARK, UnregisteredTasks

PATIENCE = 20.0
"""Seconds for reading messages. A queue of a million messages takes longer; the rest is counted as not looked at."""
CHUNK = 200
"""Messages that are read at a time."""


def find(app: Any, queues: Iterable[str], patience: float = PATIENCE) -> UnregisteredTasks:
    """The tasks in `queues`, or in the hands of any worker, that are not registered in `app`. Raises RedisError."""
    deadline = time.monotonic() + patience
    known = frozenset(app.tasks) | {DRILL_TASK}  # a worker has it while a drill runs
    unregistered: dict[str, Counter[str]] = {}
    looked = left = 0
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        client, prefix = channel.client, channel.global_keyprefix  # kombu adds it to the commands that it uses itself
        # First the messages that workers hold: they are few. Of which queue each came is not written there, so all of them count.
        held = client.hlen(channel.unacked_key)
        for name in _in_flight(client, prefix + channel.unacked_key, deadline):
            looked += 1
            if name not in known:
                unregistered.setdefault("in flight", Counter())[name] += 1
        left += max(0, held - looked)
        for queue in queues:
            for key in {channel._q_for_pri(queue, step) for step in channel.priority_steps}:
                length, start = client.llen(key), 0
                while start < length and time.monotonic() < deadline:
                    # From the head: workers take these next.
                    messages = client.lrange(prefix + key, max(0, length - start - CHUNK), length - start - 1)
                    for waiting in map(_name, messages):
                        if waiting is not None and waiting not in known:
                            unregistered.setdefault(queue, Counter())[waiting] += 1
                    start += CHUNK
                looked += min(start, length)
                left += max(0, length - start)
    tasks = {queue: dict(counts) for queue, counts in unregistered.items()}
    return {"unregistered": tasks, "looked_at": looked, "not_looked_at": left}


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
    """The task of a message; None if Celery did not send it."""
    try:
        name = json.loads(message)["headers"]["task"]
    except (ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def main() -> int:
    """Run the command line."""
    app_name, *queues = sys.argv[1:]
    take_environment()
    from celery.app.utils import find_app

    from fleet_node.worker import settings

    app = find_app(app_name)
    app.loader.import_default_modules()
    app.loader.import_task_module("fleet_node.worker")  # as -I does
    app.finalize()
    settings.apply(app, settings.of_environment())
    sys.stdout.write(f"\n{TASKS_MARK}{json.dumps(find(app, queues))}\n")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread of the app would keep the process alive
