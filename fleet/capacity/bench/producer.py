"""Sends the tasks of a benchmark when they are due, from several processes: one sends some 2,000 a second."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.synchronize import Event
from typing import Any

from fleet.broker.announcing import directly, sender
from fleet.capacity.bench.arrivals import Load, due
from fleet_node.protocol import BENCH_TASK

MOST_PROCESSES = 4
BEGIN = 0.5
"""Seconds from the order to send until the first task is due: every process has to have it."""


@dataclass(frozen=True)
class Sending:
    """What was sent. due: number → when the task was due, in seconds of this machine's clock. late: by how much each was late."""

    due: dict[int, float]
    late: list[float]


class Producers:
    """Processes that send, while the context lasts. url: of the broker."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._number = min(MOST_PROCESSES, max(1, (os.cpu_count() or 1) - 1))
        context = multiprocessing.get_context("spawn")
        self._over = context.Event()
        self._pool = ProcessPoolExecutor(self._number, context, _begin, (self._over,))

    def __enter__(self) -> Producers:
        list(self._pool.map(_app, [self._url] * self._number))
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown(cancel_futures=True)

    def send(self, run: str, queue: str, load: Load, first: int) -> Sending:
        """Send a load's tasks. first: the number of its first task. Ends when all are sent."""
        begin = time.time() + BEGIN
        tasks = [(first + index, begin + at) for index, at in enumerate(due(load, first))]
        parts = [
            self._pool.submit(_send, self._url, run, queue, load, tasks[part :: self._number]) for part in range(self._number)
        ]
        late = [seconds for part in parts for seconds in part.result()]
        return Sending(dict(tasks), late)


_over: list[Event] = []
"""Of a process that sends: one, set when it is to send no more."""


def _begin(over: Event) -> None:
    """In each process. Ctrl-C goes to all of them, and the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _over.append(over)


@lru_cache
def _app(url: str) -> Any:
    return sender(url)


def _send(url: str, run: str, queue: str, load: Load, tasks: Sequence[tuple[int, float]]) -> list[float]:
    """Seconds by which each task was late."""
    app, late = _app(url), []
    with app.producer_or_acquire() as producer:
        for number, at in tasks:
            if _over[0].wait(max(0.0, at - time.time())):
                break
            late.append(max(0.0, time.time() - at))
            app.send_task(BENCH_TASK, [run, number, load.work, load.seconds], queue=directly(queue), producer=producer)
    return late
