"""A worker's vital signs for systemd, from a thread of its own: the worker's timer stops in a drain, and when the worker hangs.

Every few seconds systemd gets a STATUS line, a sign for its watchdog as long as the worker gets on (`progress`), and more time
while the worker drains. In gevent and eventlet the thread is a green one: a task that never yields holds it up, and after
`stall_timeout` the worker counts as stopped.

A worker whose device is unavailable takes nothing more. When the device is back the worker ends, and systemd starts another: the
CUDA state of the old one is lost.
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

from fleet_node import broker
from fleet_node.worker import device
from fleet_node.worker.progress import Activity, Progress, status
from fleet_node.worker.sd_notify import CONSUMES, CONSUMES_NOT, is_supervised, notify
from fleet_node.worker.sign import slots

logger = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two signs."""


class Vitals:
    """Of one worker (a celery WorkController), from start() to its end."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._stall = float(os.environ.get("FLEET_STALL_TIMEOUT") or 0)
        self._every = min(EVERY, self._stall / 4 or EVERY)
        self._longest_stop = float(os.environ.get("FLEET_LONGEST_STOP") or 0)
        self._drains_since: float | None = None
        self._last_status = ""
        self._unavailable = ""
        self._wake = threading.Event()

    def start(self) -> None:
        """Start the thread, if systemd or a kubelet started the worker."""
        if is_supervised():
            threading.Thread(target=self._run, name="fleet-vitals", daemon=True).start()

    def drains(self) -> None:
        """Say at once that the worker drains, and in every sign from now on."""
        self._drains_since = self._drains_since or time.monotonic()
        self._wake.set()

    @property
    def is_draining(self) -> bool:
        """Whether the worker drains."""
        return self._drains_since is not None

    def activity(self) -> Activity:
        """The worker now."""
        consumer = self._worker.consumer
        task_consumer = consumer.task_consumer if consumer else None
        busy, begun = len(state.active_requests), state.all_total_count[0]
        return Activity(
            slots=slots(self._worker),
            busy=busy,
            reserved=max(0, len(state.reserved_requests) - busy),
            begun=begun,
            done=max(0, begun - busy),
            queues=tuple(queue.name for queue in task_consumer.queues) if task_consumer else (),
            connected=bool(consumer and consumer.connection),
            draining=self._drains_since is not None,
            unavailable=self._unavailable,
            paused=_limited(consumer) if consumer else False,
        )

    def _run(self) -> None:
        progress = Progress(self._stall, time.monotonic())
        while True:
            try:
                self._send(progress)
            except Exception as error:  # the worker's state changes while it is read; the next sign is better
                logger.warning("vital signs: %r", error)
            self._wake.wait(self._every)
            self._wake.clear()

    def _mind_the_device(self) -> None:
        """Consume nothing while the device is unavailable, not even after a reconnect; end when it is back."""
        why, was = device.unavailable(), self._unavailable
        if why and not was:
            logger.critical("takes nothing more: its device is away: %s", why)
        elif was and not why:
            logger.warning("its device is back: ending, to be started again")
            os.kill(os.getpid(), signal.SIGTERM)
        self._unavailable = why or was
        consumer = self._worker.consumer
        if why and consumer and consumer.task_consumer:
            for queue in consumer.task_consumer.queues:
                consumer.call_soon(consumer.cancel_task_queue, queue.name)

    def _send(self, progress: Progress) -> None:
        if self._drains_since is None:
            self._mind_the_device()
        activity, now = self.activity(), time.monotonic()
        why = progress.stalled(activity, now, self._waiting) if self._stall else ""
        if why:
            logger.critical("stalled, to be restarted: %s", why)
            notify(f"STATUS=stalled: {why}", "WATCHDOG=trigger")
            return
        takes = activity.connected and activity.queues and not activity.draining and not activity.unavailable
        lines = ["WATCHDOG=1", CONSUMES if takes else CONSUMES_NOT]
        line = status(activity)
        if line != self._last_status:
            lines.append(f"STATUS={line}")
            self._last_status = line
        if self._drains_since is not None and now - self._drains_since + 2 * EVERY < self._longest_stop:
            lines.append(f"EXTEND_TIMEOUT_USEC={2 * EVERY * 1e6:.0f}")
        notify(*lines)

    def _waiting(self) -> int | None:
        """Messages in the queues that the worker consumes; None if the broker does not answer."""
        app, consumer = self._worker.app, self._worker.consumer
        try:
            with app.connection_for_read() as connection:
                kind = broker.of(connection)
                connection.transport_options.update(kind.options(EVERY))  # RabbitMQ's would wait for a lost answer for ever
                connection.ensure_connection(max_retries=1, timeout=EVERY)
                channel = connection.default_channel
                lengths = (kind.length(channel, queue.name) for queue in consumer.task_consumer.queues)
                return sum(lengths)
        except Exception:  # kombu, the broker, or a consumer that just reconnects
            return None


def _limited(consumer: Any) -> bool:
    """Whether the worker holds tasks back because of a rate limit, or may fetch none, since it holds as many with an ETA as
    worker_eta_task_limit allows."""
    if any(bucket and bucket.contents for bucket in tuple(consumer.task_buckets.values())):
        return True
    qos = consumer.qos
    if not (qos and getattr(qos, "max_prefetch", None)):
        return False
    held = sum(isinstance(arg, Request) for scheduled in tuple(consumer.timer.schedule.queue) for arg in scheduled.entry.args)
    return held >= int(qos.value)
