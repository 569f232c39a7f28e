"""gevent and eventlet workers fetch a task as soon as a slot is free.

A worker whose slots are all taken waits for messages that it has not asked for, 2 s each time, and does not notice that a slot is
free (celery/worker/loops.py, synloop; kombu/transport/redis.py, MultiChannelPoller.get). With a prefetch of 1 that is a batch
every 2 s: benchmarks/green.py measures it.
"""

from __future__ import annotations

import time
from typing import Any

from fleet_node.patches.versions import Range, Versions

NAME = "green-fetch"
AFFECTED = SUPPORTED = Versions(kombu=Range("5.0", "5.7.0"))
POOLS: tuple[str, ...] = ("gevent", "eventlet")
REPLACES: tuple[str, ...] = ("kombu.transport.redis.MultiChannelPoller.get",)
MENDS = "a gevent or eventlet worker whose slots are all taken notices a free slot up to 2 s late"
ADVICE = "set a higher prefetch in the role's settings"
TEST = "tests/unit/fleet_node/patches/test_patches.py::test_a_gevent_worker_with_no_free_slot_listens_and_goes_on"
DELETE_WHEN = "benchmarks/green.py shows no difference with a release of kombu, and no older one is supported"

CHECK_EVERY = 0.02
"""Seconds after which a worker without a free slot looks for one."""


def apply(worker: Any) -> None:
    """See Patch."""
    from kombu.transport.redis import MultiChannelPoller

    original: Any = MultiChannelPoller.get

    def get(self: Any, callback: Any, timeout: float | None = None) -> Any:
        if timeout:
            deadline = time.monotonic() + timeout
            while (timeout := max(0.0, deadline - time.monotonic())) and _is_full(self):
                if self.poller.poll(0):  # a command of remote control, for example
                    break
                time.sleep(min(CHECK_EVERY, timeout))
        return original(self, callback, timeout)

    MultiChannelPoller.get = get  # type: ignore[method-assign]


def _is_full(poller: Any) -> bool:
    return any(channel.active_queues and not channel.qos.can_consume() for channel in poller._channels)
