"""The task of `fleet bench`: it does nothing, waits or computes for a while, and writes down when it began and ended.

The ledger is a list in the Redis of `fleet_node.broker.ledger`, DRILL_LEDGER and the benchmark's id: each entry a JSON array
[number, begun, ended, node]. It is written once for a task, in one round trip, so that the benchmark costs little of what it
measures. Times are of Redis' clock, from which this process knows how far its own is away.

A worker has this task only while a benchmark is announced: `fleet_node.worker.drill_tasks` imports this module then.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from fleet_node.broker import ledger
from fleet_node.drill import CONNECTIONS, LEDGER_TTL, OPTIONS, NotAnnouncedError
from fleet_node.protocol import BENCH_TASK, DRILL_ANNOUNCED, DRILL_LEDGER

ASKED_EVERY = 5.0
"""Seconds for which a process takes a benchmark for announced."""
CLOCK_TRIES = 5
"""How often Redis is asked for the time. The quickest answer counts."""


class Clock:
    """Redis' time, in seconds, without asking it each time."""

    def __init__(self, client: Any) -> None:
        answers: list[tuple[float, float]] = []
        for _ in range(CLOCK_TRIES):
            before = time.time()
            seconds, micros = client.time()
            after = time.time()
            answers.append((after - before, seconds + micros / 1e6 - (before + after) / 2))
        self._ahead = min(answers)[1]

    def now(self) -> float:
        return time.time() + self._ahead


def register(app: Any) -> Any:
    """Register the task in an app. Returns it."""
    client, free = ledger.of_app(app, ledger.OUTAGE), threading.BoundedSemaphore(CONNECTIONS)
    assert client is not None  # noqa: S101 - the benchmark is announced there
    announced: dict[str, float] = {}
    clocks: list[Clock] = []

    def check(run: str) -> None:
        if time.monotonic() < announced.get(run, 0.0):
            return
        with free:
            if not client.sismember(DRILL_ANNOUNCED, run):
                raise NotAnnouncedError(f"benchmark {run} does not run any more")
            if not clocks:
                clocks.append(Clock(client))
        announced[run] = time.monotonic() + ASKED_EVERY

    def work(self: Any, run: str, number: int, kind: str, seconds: float) -> None:
        """kind: "cpu" computes for `seconds` of CPU time; "io" waits for them; any other does nothing."""
        check(run)
        begun = clocks[0].now()
        if kind == "cpu":
            end = time.thread_time() + seconds
            while time.thread_time() < end:
                sum(range(1000))
        elif kind == "io":
            time.sleep(seconds)
        entry, key = json.dumps([number, begun, clocks[0].now(), self.request.hostname]), f"{DRILL_LEDGER}{run}"
        with free, client.pipeline(transaction=False) as pipeline:
            pipeline.rpush(key, entry)
            pipeline.expire(key, LEDGER_TTL)
            pipeline.execute()

    return app.task(name=BENCH_TASK, **OPTIONS)(work)
