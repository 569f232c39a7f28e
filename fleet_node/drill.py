"""The task of `fleet drill`: a numbered piece of work that writes into a ledger when it began and when it ended.

The ledger of a drill is a list in the Redis of `fleet_node.broker.ledger`, DRILL_LEDGER and the drill's id: each entry a JSON
array [number, "start" or "end", time, node]. Times are Redis' own, so that no two clocks are compared.

A worker has this task only while a drill is announced: `fleet_node.worker.drill_tasks` imports this module then.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from celery import Task

from fleet_node.broker import ledger
from fleet_node.protocol import DRILL_ANNOUNCED, DRILL_LEDGER, DRILL_TASK

LEDGER_TTL = 86400
"""Seconds that a ledger is kept after its last entry."""
PIECE = 1 << 22
"""Bytes that are taken at a time."""
CONNECTIONS = 4
"""Connections of a process to the ledger. A hundred greenlets that all begin a TLS connection at once would keep each
other from ending it in time."""


OPTIONS: dict[str, Any] = {
    "base": Task,
    "bind": True,
    "lazy": False,
    "shared": False,
    "ignore_result": True,
    "acks_late": True,
    "reject_on_worker_lost": True,
}
"""Of the tasks of drills and benchmarks, whatever the app's own are."""


class NotAnnouncedError(Exception):
    """The task is of a drill that does not run any more."""


class DrillFailureError(Exception):
    """The task was sent to fail."""


def register(app: Any) -> Any:
    """Register the task in an app. Returns it."""
    # A task waits for it, as a task that writes to a database would.
    client, free = ledger.of_app(app, ledger.OUTAGE), threading.BoundedSemaphore(CONNECTIONS)
    assert client is not None  # noqa: S101 - the drill is announced there

    def is_announced(drill: str) -> bool:
        with free:
            return bool(client.sismember(DRILL_ANNOUNCED, drill))

    def write(drill: str, number: int, event: str, node: str) -> None:
        key = f"{DRILL_LEDGER}{drill}"
        with free:
            seconds, micros = client.time()
            with client.pipeline(transaction=False) as pipeline:
                pipeline.rpush(key, json.dumps([number, event, seconds + micros / 1e6, node]))
                pipeline.expire(key, LEDGER_TTL)
                pipeline.execute()

    def work(self: Any, drill: str, number: int, kind: str, seconds: float) -> None:
        """kind: "cpu" computes for `seconds`; "memory" takes that many bytes, twice; "fail" raises; any other waits."""
        if not is_announced(drill):
            raise NotAnnouncedError(f"drill {drill} does not run any more")
        if kind == "fail":
            raise DrillFailureError("this task was sent to fail")
        write(drill, number, "start", self.request.hostname)
        if kind == "cpu":
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                sum(range(1000))
        elif kind == "memory":
            taken = []
            for _ in range(int(2 * seconds) // PIECE):
                taken.append(bytearray(PIECE))
        else:
            time.sleep(seconds)
        write(drill, number, "end", self.request.hostname)

    # Tried again until it ends well: a task that fails with a broken release succeeds with a good one.
    create = app.task(
        name=DRILL_TASK,
        **OPTIONS,
        autoretry_for=(Exception,),
        dont_autoretry_for=(NotAnnouncedError, DrillFailureError),
        max_retries=None,
        retry_kwargs={"countdown": 1},
    )
    return create(work)
