"""How a task passes from Redis to a worker: so that it is always in the one or the other.

kombu takes messages by BRPOP: what Redis hands to a worker that is gone, and whose connection it does not know to be dead (a
reset machine, a cut network, a stopped process), is nowhere any more: one task for each such worker, 5 of 5 when tried (kombu
5.7.0, kombu/transport/redis.py, Channel._brpop_start; docs/decisions/0015). Here a script takes a message and writes it down
among the unacknowledged ones at once, which kombu's own sweep gives back after the visibility timeout.

A script cannot wait for a message. So a worker that found none waits for its bell: a key of its own, that only a thread of its
own writes to, when Redis says (notify-keyspace-events) that something was put into one of its queues. What Redis hands to a dead
worker is then a stroke of the bell. Where Redis does not say so, the worker looks every second.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from kombu.transport.redis import Channel, MultiChannelPoller, QoS
from kombu.transport.virtual import QoS as VirtualQoS
from redis import Redis, RedisError
from redis.exceptions import OutOfMemoryError

TAKE = """
for number = 3, #KEYS do
  local message = redis.call('LINDEX', KEYS[number], -1)
  if message then
    local around, stop = message, string.find(message, '"', 11, true)
    if stop and string.sub(message, 1, 10) == '{"body": "' and string.byte(message, stop - 1) ~= 92 then
      around = '{"body":0' .. string.sub(message, stop + 1)
    end
    local fine, told = pcall(cjson.decode, around)
    local properties = fine and type(told) == 'table' and told.properties
    local delivery = type(properties) == 'table' and properties.delivery_info
    if type(delivery) == 'table' and type(properties.delivery_tag) == 'string' then
      local where = cjson.encode(delivery.exchange) .. ', ' .. cjson.encode(delivery.routing_key)
      redis.call('HSET', KEYS[1], properties.delivery_tag, '[' .. message .. ', ' .. where .. ']')
      redis.call('ZADD', KEYS[2], ARGV[1], properties.delivery_tag)
    end
    redis.call('LTRIM', KEYS[number], 0, -2)
    return {KEYS[number], message}
  end
end
return false
"""
"""Lua: the next message, from a queue to the unacknowledged ones as kombu writes them (QoS.append). It is removed last: a Redis
that is full refuses what comes before. The body, which comes first, is not decoded, and LTRIM tells no Lua what it removed: of
the 8 ms in which Redis answers nobody for 1 MB, 5 were these. (92 is a backslash: a body that has one is not Celery's base64.)
KEYS: unacked, unacked_index, the lists in their order; ARGV: seconds since 1970."""
LOOK_EVERY, WAIT = 1, 5
"""Seconds until a worker looks though no bell rang: where it has none that works, and where it has one."""
LOOK_EVERY_GREEN = 3
"""LOOK_EVERY of gevent and eventlet, which give back what a dead worker held when for 2 s there was no answer at all."""
BUSY_AFTER = 2.0
"""Seconds without a look that found nothing, after which a worker has enough to do."""
TELL_EVERY = 60.0
"""Seconds between two lines that say that the broker is full."""

_log = logging.getLogger("celery.worker.fleet")


class Bell:
    """Rings for one worker when something was put into one of its lists and it waits for that. It listens as long as the worker
    finds nothing now and then: one with enough to do looks by itself, and need not hear of every task of its queues.
    """

    def __init__(self, url: str, look_every: int) -> None:
        self.key = f"fleet.bell.{uuid.uuid4().hex}"
        self.works = False
        self._url, self._look_every = url, look_every
        self._lists: frozenset[str] = frozenset()
        self._looks = self._rung = False
        self._empty_at = float("-inf")
        self._wake = threading.Event()

    @property
    def patience(self) -> int:
        """Seconds after which the worker looks though it did not ring."""
        return WAIT if self.works else self._look_every

    def looks(self, lists: Iterable[str]) -> None:
        """The worker looks into these, and is to hear of what comes after."""
        self._lists, self._looks = frozenset(lists), True

    def found(self, something: bool) -> None:
        """Whether it did."""
        self._looks = not something
        if not something:
            self._empty_at = time.monotonic()
            self._wake.set()

    def heard(self) -> None:
        """It has been waiting, and looks again."""
        self._rung = False

    def start(self) -> None:
        """From now on, by a thread that ends with the process."""
        threading.Thread(target=self._run, name="fleet-bell", daemon=True).start()

    def _run(self) -> None:
        options: dict[str, Any] = {"socket_timeout": 30, "socket_connect_timeout": 5, "health_check_interval": 10}
        while True:
            self._wake.wait()
            try:
                with Redis.from_url(self._url, decode_responses=True, **options) as redis:
                    self._listen(redis)
            except (RedisError, OSError) as error:
                _log.debug("no bell until Redis answers: %s", error)
                time.sleep(1)
            self.works = False

    def _listen(self, redis: Redis) -> None:
        """Until the worker has enough to do."""
        said = f"__keyspace@{redis.connection_pool.connection_kwargs.get('db', 0)}__:"
        attempt, heard_of = f"{self.key}.try", set[str]()
        with redis.pubsub(ignore_subscribe_messages=True) as events:  # type: ignore[no-untyped-call]
            while self._looks or time.monotonic() - self._empty_at < BUSY_AFTER:
                self._wake.clear()
                if new := self._lists - heard_of:
                    self.works = False
                    events.subscribe(*(said + key for key in (*new, attempt)))
                    heard_of |= new
                    redis.lpush(attempt, 1)
                    redis.delete(attempt)
                event = events.get_message(timeout=1)
                if event is None or event["data"] not in ("lpush", "rpush"):
                    continue
                if event["channel"] == said + attempt:
                    self.works = True
                    self._ring(redis)  # something may have come before we heard of it
                elif self._looks and not self._rung:
                    self._ring(redis)

    def _ring(self, redis: Redis) -> None:
        self._rung = True
        with redis.pipeline(transaction=False) as pipeline:
            # No list, or every stroke would be told to whoever listens.
            pipeline.zadd(self.key, {"stroke": 1})
            pipeline.expire(self.key, 600)
            pipeline.execute()


_bell: list[Bell] = []
_told: list[float] = [float("-inf")]
_close: Any = Channel.close
_append: Any = QoS.append
_restore: Any = MultiChannelPoller.maybe_restore_messages
_append_here: Any = VirtualQoS.append


def install(green: bool) -> None:
    """Have this process take messages so. To be called before it connects. green: whether its pool is gevent or eventlet."""
    if not _bell:
        _bell.append(Bell(os.environ["CELERY_BROKER_URL"], LOOK_EVERY_GREEN if green else LOOK_EVERY))
    channel: Any = Channel
    channel._fleet_waits = channel._fleet_found = channel._fleet_taken = None
    channel._brpop_start, channel._brpop_read, channel.close = start, read, close
    QoS.append = append  # type: ignore[method-assign]
    MultiChannelPoller.maybe_restore_messages = restore  # type: ignore[method-assign]


def ring_from_now() -> None:
    """Start the bell of this process, where it has one: when its pool has been forked, since a thread is not."""
    for bell in _bell:
        bell.start()


def start(self: Any, timeout: float | None = None) -> None:
    """In place of Channel._brpop_start: ask for the next message, or, where there was none, wait for the bell."""
    queues = self._queue_cycle.consume(len(self.active_queues))
    if not queues:
        return
    (bell,) = _bell
    self._in_poll, self._brpop_sent_at = self.client.connection, time.monotonic()
    self._fleet_waits = self._fleet_found is False
    if self._fleet_waits:
        # kombu drops a connection that is silent for longer than its own wait (brpop_timeout) and this.
        words: list[Any] = ["BZPOPMIN", bell.key, min(bell.patience, self.health_check_interval or WAIT)]
    else:
        prefix = self.global_keyprefix
        lists = [prefix + self._q_for_pri(queue, pri) for pri in self.priority_steps for queue in queues]
        bell.looks(lists)
        held = (prefix + self.unacked_key, prefix + self.unacked_index_key)
        words = ["EVAL", TAKE, len(held) + len(lists), *held, *lists, time.time()]
    self.client.connection.send_command(*words)


def read(self: Any, **options: Any) -> bool:
    """In place of Channel._brpop_read: the answer. Whether it was a message. (To raise Empty where it was none, as kombu does,
    would have a gevent worker sleep for its polling interval.)"""
    (bell,) = _bell
    try:
        try:
            # By no name that kombu knows, so that it does not look for a prefix.
            answer = self.client.parse_response(self.client.connection, "FLEET", **options)
        except OutOfMemoryError:
            self._fleet_found = False
            if time.monotonic() - _told[0] > TELL_EVERY:
                _told[0] = time.monotonic()
                _log.critical("the broker is full: no task can be taken until its maxmemory is raised")
            return False
        except self.connection_errors:
            self._fleet_found = None
            self.client.connection.disconnect()
            raise
        if self._fleet_waits:
            self._fleet_found = None
            bell.heard()
            return False
        self._fleet_found = bool(answer)
        bell.found(bool(answer))
        if not answer:
            return False
        key, item = (part.decode() if isinstance(part, bytes) else part for part in answer)
        queue = key.removeprefix(self.global_keyprefix).rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        message = json.loads(item)
        self._fleet_taken = message["properties"]["delivery_tag"]  # written down already
        try:
            self.connection._deliver(message, queue)
        finally:
            self._fleet_taken = None
        return True
    finally:
        self._in_poll = None
        self._flush_brpop_reauth()


def restore(self: Any) -> Any:
    """MultiChannelPoller.maybe_restore_messages, whose lock a Redis that is full refuses: later, then."""
    with suppress(OutOfMemoryError):
        return _restore(self)


def close(self: Any) -> Any:
    """Channel.close, which would wait for an answer: a stroke of the bell is none that could be lost."""
    if self._in_poll and self._fleet_waits:
        self.client.connection.disconnect()
    return _close(self)


def append(self: Any, message: Any, delivery_tag: str) -> Any:
    """QoS.append, which writes down among the unacknowledged ones what the script has written there."""
    if delivery_tag == self.channel._fleet_taken:
        return _append_here(self, message, delivery_tag)
    return _append(self, message, delivery_tag)
