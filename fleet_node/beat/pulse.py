"""What beat tells systemd, and the renewal of the lock: a thread."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NoReturn

from redis.exceptions import RedisError

from fleet_node.beat.lock import RENEWALS, Lock
from fleet_node.delivery.holdings import uptime
from fleet_node.protocol import BeatSign
from fleet_node.worker.sd_notify import notify

logger = logging.getLogger("celery.beat")

EVERY = 5.0
"""Seconds between two signs to systemd, at most."""
HUNG = 60.0
"""Seconds after which a look at the schedule counts as hung. A run that is sent takes milliseconds."""
ASIDE = 1.0
"""Seconds before the end of its lock at which a leader that cannot renew it ends."""
RETRY = 1.0


class Pulse:
    """Of one process. lock: None if there is none."""

    def __init__(self, node: str, lock: Lock | None) -> None:
        self.lock = lock
        self.drill = ""
        """The drill that is announced, or nothing."""
        self.sign: BeatSign = {
            "node": node,
            "leads": False,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "release": os.environ.get("FLEET_RELEASE", ""),
            "revision": os.environ.get("FLEET_REVISION", ""),
        }
        self._at_work_since: float | None = None
        self._is_blocked = False
        self._ends = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While the schedule, or the lock, is looked at. Raises SystemExit if the process was told to end meanwhile."""
        self._at_work_since = uptime()
        try:
            yield
        finally:
            self._at_work_since, self._is_blocked = None, False
            if self._ends:
                raise SystemExit

    def end(self, *_: object) -> None:
        """The handler of SIGTERM and SIGINT. What is being sent is sent first: in the middle of an answer of Redis, an exception
        is lost among those of its client, and the process would go on."""
        self._ends = True
        if self._at_work_since is None:
            raise SystemExit

    def blocked(self, *_: object) -> None:
        """RabbitMQ has no memory or no disk left, and takes what is being sent when it has room. Started again meanwhile, this
        process would send the same again, and RabbitMQ would take both."""
        if self._at_work_since is not None:
            self._is_blocked = True

    def leads(self) -> None:
        """This process leads from now on: start the thread. Raises RedisError."""
        self.sign = {**self.sign, "leads": True, "since": datetime.now(UTC).isoformat(timespec="seconds")}
        begun = uptime()
        if self.lock:
            self._renew(self.lock)
        self._thread = threading.Thread(target=self._run, args=(begun,), name="fleet-beat", daemon=True)
        self._thread.start()

    def ready(self) -> None:
        """Tell systemd that it does its work."""
        notify("READY=1", f"STATUS={self.status}")

    @property
    def status(self) -> str:
        """In words."""
        if self._is_blocked:
            return "RabbitMQ has no room, and takes nothing until it has"
        if self.sign["leads"]:
            return f"leader since {self.sign['since']}"
        return f"standby, {(self.lock and self.lock.leading_node) or 'nobody'} leads"

    def stop(self) -> None:
        """End the thread, and give the lock back."""
        self._over.set()
        if self._thread:
            self._thread.join(HUNG)
        if self.lock:
            try:
                self.lock.leave()
            except RedisError as error:
                logger.warning("beat: the lock is not given back: %r", error)

    def _run(self, renewed: float) -> None:
        every = min(EVERY, self.lock.takeover / RENEWALS) if self.lock else EVERY
        wait = every
        while not self._over.wait(wait):
            wait = every
            begun = uptime()
            if self.lock:
                try:
                    self._renew(self.lock)
                    renewed = begun
                except RedisError as error:
                    if uptime() - renewed >= self.lock.takeover - ASIDE:
                        lost(f"the lock was not renewed for {uptime() - renewed:.0f} s: {error!r}")
                    wait = min(RETRY, every)
            since = self._at_work_since
            if since is None or uptime() - since < HUNG or self._is_blocked:
                notify("WATCHDOG=1", f"STATUS={self.status}")
            else:
                notify(f"STATUS=a look at the schedule has taken {uptime() - since:.0f} s")

    def _renew(self, lock: Lock) -> None:
        """Renew the lock, say that this process leads, and see whether there is a drill: a new leader has to know the runs of its
        entry, too. Raises RedisError."""
        if not lock.renew(self.sign):
            lost(f"{lock.leading_node or 'nobody'} has the lock")
        self.drill = str(lock.client.get(lock.drill) or "")


def lost(why: str) -> NoReturn:
    """End at once, without a word to any store: another leads. systemd starts this process again, as a standby."""
    logger.critical("beat: does not lead any more, and ends: %s", why)
    notify(f"STATUS=does not lead any more: {why}")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(1)
