"""A task passes from Redis to a worker so that it is always in the one or the other (Sidekiq calls it reliable fetch).

kombu takes messages by BRPOP. What Redis hands to a worker that is gone, and whose connection it does not know to be dead (a
reset machine, a cut network, a stopped process), is lost: one task for each such worker, 5 of 5 when tried (kombu 5.7.0,
kombu/transport/redis.py, Channel._brpop_start; docs/decisions/0015). Here a script takes a message and writes it down among the
unacknowledged messages in one step. kombu gives those back after the visibility timeout.

A script cannot wait for a message. A worker that fetched none waits for its Wakeup instead.
"""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import suppress
from typing import Any

from fleet_node.patches.versions import Range, Versions

NAME = "reliable-fetch"
AFFECTED = Versions(kombu=Range("5.0", "5.7.0"))
SUPPORTED = Versions(kombu=Range("5.7.0", "5.7.0"))
POOLS: tuple[str, ...] = ()
REPLACES: tuple[str, ...] = (
    "kombu.transport.redis.Channel._brpop_start",
    "kombu.transport.redis.Channel._brpop_read",
    "kombu.transport.redis.Channel.close",
    "kombu.transport.redis.QoS.append",
    "kombu.transport.redis.MultiChannelPoller.maybe_restore_messages",
)
MENDS = "a reset machine or a cut network may lose a task for each of its workers"
ADVICE = "pin 5.7.0, where that is mended here"
TEST = "tests/unit/fleet_node/patches/test_patches.py::test_what_redis_hands_to_a_worker_that_is_gone_is_not_lost"
DELETE_WHEN = "a release of kombu takes messages without BRPOP, and no older one is supported"

TAKE = """
for number = 3, #KEYS do
  local message = redis.call('LINDEX', KEYS[number], -1)
  if message then
    local around, stop = message, string.find(message, '"', 11, true)
    if stop and string.sub(message, 1, 10) == '{"body": "' and string.byte(message, stop - 1) ~= 92 then
      around = '{"body":0' .. string.sub(message, stop + 1)
    end
    local fine, decoded = pcall(cjson.decode, around)
    local properties = fine and type(decoded) == 'table' and decoded.properties
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
"""Lua: moves the next message from a queue to the unacknowledged messages, as kombu writes them (QoS.append).

The message is removed from its queue last: a Redis that is full refuses the writes before. The body, which comes first, is not
decoded, and LTRIM does not return to Lua what it removes: of the 8 ms for which 1 MB blocks Redis, these took 5. (92 is a
backslash: a body that has one is not Celery's base64.)

KEYS: unacked, unacked_index, the lists in their order; ARGV: seconds since 1970.
"""
CHECK_EVERY, WAIT = 1, 5
"""Seconds until a worker fetches again without a wakeup: if wakeups do not work, and if they do."""
CHECK_EVERY_GREEN = 3
"""CHECK_EVERY of gevent and eventlet, which give back what a dead worker held only if there was no answer at all for 2 s."""
GREEN = ("gevent", "eventlet")
REPORT_EVERY = 60.0
"""Seconds between two lines that say that the broker is full."""

_log = logging.getLogger("celery.worker.fleet")


def apply(worker: Any) -> None:
    """See Patch."""
    from celery.signals import worker_ready

    from fleet_node.patches import pool_of
    from fleet_node.patches.wakeup import Wakeup

    green = pool_of(worker) in GREEN
    wakeup = Wakeup(os.environ["CELERY_BROKER_URL"], WAIT, CHECK_EVERY_GREEN if green else CHECK_EVERY)

    def ready(**_: Any) -> None:
        wakeup.start()  # not before: the pool has been forked by now, and a fork has no threads

    replace_fetching(wakeup)
    worker_ready.connect(ready, weak=False)


def replace_fetching(wakeup: Any) -> None:
    """Have all channels of this process fetch by the script, and wait for `wakeup`.

    A channel has three attributes for it. _fleet_waiting: whether it has asked for the wakeup and not for a message.
    _fleet_fetched: whether its last answer was a message; None if it does not know. _fleet_tag: the delivery tag of the message
    that it delivers, which is among the unacknowledged already.
    """
    from kombu.transport.redis import Channel, MultiChannelPoller, QoS
    from kombu.transport.virtual import QoS as VirtualQoS
    from redis.exceptions import OutOfMemoryError

    close_channel: Any = Channel.close
    append_to_redis: Any = QoS.append
    append_here: Any = VirtualQoS.append
    restore_messages: Any = MultiChannelPoller.maybe_restore_messages
    reported_at = float("-inf")

    def start(self: Any, timeout: float | None = None) -> None:
        """In place of Channel._brpop_start: ask for the next message, or for the wakeup if there was no message."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        self._in_poll, self._brpop_sent_at = self.client.connection, time.monotonic()
        self._fleet_waiting = self._fleet_fetched is False
        if self._fleet_waiting:
            # kombu drops a connection that is silent for longer than its own wait (brpop_timeout) and this.
            command: list[Any] = ["BZPOPMIN", wakeup.key, min(wakeup.patience, self.health_check_interval or WAIT)]
        else:
            prefix = self.global_keyprefix
            lists = [prefix + self._q_for_pri(queue, pri) for pri in self.priority_steps for queue in queues]
            wakeup.subscribe(lists)
            unacked = (prefix + self.unacked_key, prefix + self.unacked_index_key)
            command = ["EVAL", TAKE, len(unacked) + len(lists), *unacked, *lists, time.time()]
        self.client.connection.send_command(*command)

    def read(self: Any, **options: Any) -> bool:
        """In place of Channel._brpop_read: take in the answer. Returns whether it was a message. (kombu raises Empty if there was
        none. A gevent worker would then sleep for its polling interval.)"""
        nonlocal reported_at
        try:
            try:
                # kombu knows no command of this name, so that it does not look for a prefix in the answer.
                answer = self.client.parse_response(self.client.connection, "FLEET", **options)
            except OutOfMemoryError:
                self._fleet_fetched = False
                if time.monotonic() - reported_at > REPORT_EVERY:
                    reported_at = time.monotonic()
                    _log.critical("the broker is full: no task can be taken until its maxmemory is raised")
                return False
            except self.connection_errors:
                self._fleet_fetched = None
                self.client.connection.disconnect()
                raise
            if self._fleet_waiting:
                self._fleet_fetched = None
                wakeup.woken()
                return False
            self._fleet_fetched = bool(answer)
            wakeup.fetched(bool(answer))
            if not answer:
                return False
            key, item = (part.decode() if isinstance(part, bytes) else part for part in answer)
            queue = key.removeprefix(self.global_keyprefix).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            message = json.loads(item)
            self._fleet_tag = message["properties"]["delivery_tag"]
            try:
                self.connection._deliver(message, queue)
            finally:
                self._fleet_tag = None
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def close(self: Any) -> Any:
        """In place of Channel.close, which waits for an answer: a wakeup can be dropped."""
        if self._in_poll and self._fleet_waiting:
            self.client.connection.disconnect()
        return close_channel(self)

    def append(self: Any, message: Any, delivery_tag: str) -> Any:
        """In place of QoS.append, which writes a message down in Redis: the script has done so."""
        if delivery_tag == self.channel._fleet_tag:
            return append_here(self, message, delivery_tag)
        return append_to_redis(self, message, delivery_tag)

    def restore(self: Any) -> Any:
        """In place of MultiChannelPoller.maybe_restore_messages, which takes a lock: a Redis that is full refuses it for now."""
        with suppress(OutOfMemoryError):
            return restore_messages(self)

    channel: Any = Channel
    channel._fleet_waiting = channel._fleet_fetched = channel._fleet_tag = None
    channel._brpop_start, channel._brpop_read, channel.close = start, read, close
    QoS.append = append  # type: ignore[method-assign]
    MultiChannelPoller.maybe_restore_messages = restore  # type: ignore[method-assign]
