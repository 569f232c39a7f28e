"""Wakes a worker up when a message comes into one of its queues, for `reliable_fetch`.

A wakeup is a key of the worker's own, which only a thread of its own writes to, when Redis tells it (notify-keyspace-events) that
a message came into one of its queues. If Redis hands the key's token to a dead worker, nothing is lost. If Redis does not notify,
the worker fetches every second instead.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterable
from typing import Any

from redis import Redis, RedisError

BUSY_AFTER = 2.0
"""Seconds without an empty fetch after which a worker has enough to do."""
EXPIRES = 600
"""Seconds after which the key of a worker that is gone ends."""

_log = logging.getLogger("celery.worker.fleet")


class Wakeup:
    """The wakeup of one worker. It listens as long as the worker fetches nothing now and then: a worker with enough to do fetches
    by itself, and need not hear of every task of its queues.

    url: of the broker. wait, check_every: seconds until the worker fetches again without a wakeup, if wakeups work and if not.
    """

    def __init__(self, url: str, wait: int, check_every: int) -> None:
        self.key = f"fleet.wakeup.{uuid.uuid4().hex}"
        self.works = False
        self._url, self._wait, self._check_every = url, wait, check_every
        self._lists: frozenset[str] = frozenset()
        self._fetching = self._notified = False
        self._empty_at = float("-inf")
        self._listen_again = threading.Event()

    @property
    def patience(self) -> int:
        """Seconds after which the worker fetches without a wakeup."""
        return self._wait if self.works else self._check_every

    def subscribe(self, lists: Iterable[str]) -> None:
        """The worker fetches from these lists, and is to hear of what comes into them from now on."""
        self._lists, self._fetching = frozenset(lists), True

    def fetched(self, message: bool) -> None:
        """The worker has its answer: whether there was a message."""
        self._fetching = not message
        if not message:
            self._empty_at = time.monotonic()
            self._listen_again.set()

    def woken(self) -> None:
        """The worker has the token, or its patience is over."""
        self._notified = False

    def start(self) -> None:
        """Listen from now on, in a thread that ends with the process."""
        threading.Thread(target=self._run, name="fleet-wakeup", daemon=True).start()

    def _run(self) -> None:
        options: dict[str, Any] = {"socket_timeout": 30, "socket_connect_timeout": 5, "health_check_interval": 10}
        while True:
            self._listen_again.wait()
            try:
                with Redis.from_url(self._url, decode_responses=True, **options) as redis:
                    self._listen(redis)
            except (RedisError, OSError) as error:
                _log.debug("no wakeup until Redis answers: %s", error)
                time.sleep(1)
            self.works = False

    def _listen(self, redis: Redis) -> None:
        """Listen until the worker has enough to do."""
        prefix = f"__keyspace@{redis.connection_pool.connection_kwargs.get('db', 0)}__:"
        attempt, subscribed = f"{self.key}.try", set[str]()
        with redis.pubsub(ignore_subscribe_messages=True) as events:  # type: ignore[no-untyped-call]
            while self._fetching or time.monotonic() - self._empty_at < BUSY_AFTER:
                self._listen_again.clear()
                if new := self._lists - subscribed:
                    self.works = False
                    events.subscribe(*(prefix + key for key in (*new, attempt)))
                    subscribed |= new
                    redis.lpush(attempt, 1)
                    redis.delete(attempt)
                event = events.get_message(timeout=1)
                if event is None or event["data"] not in ("lpush", "rpush"):
                    continue
                if event["channel"] == prefix + attempt:
                    self.works = True
                    self._notify(redis)  # a message may have come before Redis notified
                elif self._fetching and not self._notified:
                    self._notify(redis)

    def _notify(self, redis: Redis) -> None:
        self._notified = True
        with redis.pipeline(transaction=False) as pipeline:
            # A sorted set: a list would notify whoever listens to lists.
            pipeline.zadd(self.key, {"token": 1})
            pipeline.expire(self.key, EXPIRES)
            pipeline.execute()
