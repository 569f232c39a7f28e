"""`python -m fleet_node.app.unregistered APP QUEUE…`: tasks that wait or are in flight, and that this release does not have.

It reads the worker's environment as NAME=value lines on stdin, and prints an UnregisteredTasks (`fleet_node.protocol`) on a line
of its own, after TASKS_MARK. It changes nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from fleet_node import broker
from fleet_node.app.check import take_environment
from fleet_node.protocol import OWN_TASKS, TASKS_MARK, UnregisteredTasks

PATIENCE = 20.0
"""Seconds for reading messages. A queue of a million messages takes longer; the rest is counted as not looked at."""


def find(app: Any, queues: Iterable[str], patience: float = PATIENCE) -> UnregisteredTasks:
    """The tasks in `queues`, or in the hands of any worker, that are not registered in `app`. Raises what the broker raises."""
    known = frozenset(app.tasks).union(OWN_TASKS)  # a worker has them while a drill runs
    with app.connection_for_read() as connection:
        return broker.of(connection).unregistered(connection.default_channel, queues, known, patience)


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
