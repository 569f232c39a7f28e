"""A worker's vital signs for systemd, from a thread of its own: the worker's timer stops in a drain, and in what hangs.

Every few seconds a STATUS line; a sign for the watchdog as long as the worker gets on (see `fleet_node.progress`); and while it
drains, more time, as long as its tasks get on. In gevent and eventlet the thread is a green one: a task that never yields
holds it up, and after `stall_timeout` counts as what it is, a worker that has stopped.

A worker whose device is away takes nothing more; when the device is back the worker ends, and systemd starts another: what CUDA
had in the old one is lost.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import Any

from celery.worker import state
from celery.worker.request import Request

from fleet_node.worker import device
from fleet_node.worker.progress import Look, Progress, status
from fleet_node.worker.sd_notify import notify

logger = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two looks."""


class Vitals:
    """Of one worker (a celery WorkController), from start() to its end."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._stall = float(os.environ.get("FLEET_STALL_TIMEOUT") or 0)
        self._every = min(EVERY, self._stall / 4 or EVERY)
        self._longest_stop = float(os.environ.get("FLEET_LONGEST_STOP") or 0)
        self._drains_since: float | None = None
        self._told = ""
        self._away = ""
        self._wake = threading.Event()

    def start(self) -> None:
        """Nothing happens where systemd did not start us."""
        if os.environ.get("NOTIFY_SOCKET"):
            threading.Thread(target=self._run, name="fleet-vitals", daemon=True).start()

    def drains(self) -> None:
        """It has begun to: say so at once, and every time from now on."""
        self._drains_since = self._drains_since or time.monotonic()
        self._wake.set()

    def look(self) -> Look:
        """The worker now."""
        consumer = self._worker.consumer
        task_consumer = consumer.task_consumer if consumer else None
        busy, begun = len(state.active_requests), state.all_total_count[0]
        return Look(
            slots=self._worker.concurrency,
            busy=busy,
            reserved=max(0, len(state.reserved_requests) - busy),
            begun=begun,
            done=max(0, begun - busy),
            queues=tuple(queue.name for queue in task_consumer.queues) if task_consumer else (),
            connected=bool(consumer and consumer.connection),
            draining=self._drains_since is not None,
            away=self._away,
            paused=_limited(consumer) if consumer else False,
        )

    def _run(self) -> None:
        progress = Progress(self._stall, time.monotonic())
        while True:
            try:
                self._tell(progress)
            except Exception as error:  # a look at what changes meanwhile; the next one is better
                logger.warning("vital signs: %r", error)
            self._wake.wait(self._every)
            self._wake.clear()

    def _mind_the_device(self) -> None:
        """Consume nothing while it is away, not even after a reconnect; end when it is back."""
        why, was = device.away(), self._away
        if why and not was:
            logger.critical("takes nothing more: its device is away: %s", why)
        elif was and not why:
            logger.warning("its device is back: ending, to be started again")
            os.kill(os.getpid(), signal.SIGTERM)
        self._away = why or was
        consumer = self._worker.consumer
        if why and consumer and consumer.task_consumer:
            for queue in consumer.task_consumer.queues:
                consumer.call_soon(consumer.cancel_task_queue, queue.name)

    def _tell(self, progress: Progress) -> None:
        if self._drains_since is None:
            self._mind_the_device()
        look, now = self.look(), time.monotonic()
        # A worker that waits for its broker is not without queues by choice.
        why = progress.stalled(look, now, self._waiting) if self._stall and (look.connected or look.draining) else ""
        if why:
            logger.critical("stalled, to be restarted: %s", why)
            notify(f"STATUS=stalled: {why}", "WATCHDOG=trigger")
            return
        lines = ["WATCHDOG=1"]
        told = status(look)
        if told != self._told:
            lines.append(f"STATUS={told}")
            self._told = told
        if self._drains_since is not None and now - self._drains_since + 2 * EVERY < self._longest_stop:
            lines.append(f"EXTEND_TIMEOUT_USEC={2 * EVERY * 1e6:.0f}")
        notify(*lines)

    def _waiting(self) -> int | None:
        """Messages in the queues that it consumes; None where the broker does not answer."""
        app, consumer = self._worker.app, self._worker.consumer
        try:
            with app.connection_for_read() as connection:
                connection.ensure_connection(max_retries=1, timeout=EVERY)
                channel = connection.default_channel
                return int(sum(channel._size(queue.name) for queue in consumer.task_consumer.queues))
        except Exception:  # kombu, Redis, or a consumer that just reconnects
            return None


def _limited(consumer: Any) -> bool:
    """Whether it holds tasks back because of a rate limit, or may fetch none, since it holds as many with an ETA as
    worker_eta_task_limit allows."""
    if any(bucket and bucket.contents for bucket in tuple(consumer.task_buckets.values())):
        return True
    qos = consumer.qos
    if not (qos and getattr(qos, "max_prefetch", None)):
        return False
    held = sum(isinstance(arg, Request) for one in tuple(consumer.timer.schedule.queue) for arg in one.entry.args)
    return held >= int(qos.value)
