"""Defects of Celery and kombu that lose tasks or workers, or most of their time, mended in the worker until a release does.
Each with a test, or a benchmark.

To delete one: when the versions that it names are no longer supported here, and its test in tests/unit/test_guards.py passes
without it.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any

import celery
import kombu

_log = logging.getLogger(__name__)
GREEN = ("gevent", "eventlet")
POLLING_INTERVAL = 3
"""Seconds. Above the 2 that a drain of the broker's events takes."""
LOOK_AGAIN = 0.02
"""Seconds after which a worker with no free slot looks whether it has one."""


def survive_a_broker_outage(_: Any) -> None:
    """celery 5.7.0 ends a worker that holds tasks when its broker goes away: `AttributeError: 'NoneType' object has no attribute
    'hostname'`, since it gives messages back over a connection that it has closed (celery#10242, worker/consumer/consumer.py,
    on_connection_error_after_connected). As a connection error it is what it is, and the worker reconnects.
    """
    import redis
    from kombu.transport.redis import Channel

    original: Any = Channel._connparams

    def _connparams(self: Any, asynchronous: bool = False) -> Any:
        if self.connection.client is None:
            raise redis.ConnectionError("the connection to the broker was closed")
        return original(self, asynchronous)

    Channel._connparams = _connparams  # type: ignore[method-assign]


def restore_in_green_pools(worker: Any) -> None:
    """A gevent or eventlet worker never gives back what a dead worker held: an empty BRPOP raises before kombu looks
    (kombu/transport/redis.py, MultiChannelPoller.get; kombu#1025, #4968, #4976). With a polling interval it looks.
    """
    if _is_green(worker):
        options = worker.app.conf.broker_transport_options or {}
        worker.app.conf.broker_transport_options = {"polling_interval": POLLING_INTERVAL, **options}


def fetch_when_a_slot_is_free(worker: Any) -> None:
    """A gevent or eventlet worker whose slots are all taken does not notice that one is free: it waits for messages that it has
    not asked for, 2 s each time (celery/worker/loops.py, synloop; kombu/transport/redis.py, MultiChannelPoller.get). With a
    prefetch of 1 that is a batch every 2 s: benchmarks/green.py.
    """
    if not _is_green(worker):
        return
    from kombu.transport.redis import MultiChannelPoller

    original: Any = MultiChannelPoller.get

    def get(self: Any, callback: Any, timeout: float | None = None) -> Any:
        if timeout:
            deadline = time.monotonic() + timeout
            while (timeout := max(0.0, deadline - time.monotonic())) and _is_full(self):
                if self.poller.poll(0):  # remote control, say
                    break
                time.sleep(min(LOOK_AGAIN, timeout))
        return original(self, callback, timeout)

    MultiChannelPoller.get = get  # type: ignore[method-assign]


def _is_green(worker: Any) -> bool:
    return str(worker.pool_cls.__module__).rpartition(".")[2] in GREEN


def _is_full(poller: Any) -> bool:
    return any(channel.active_queues and not channel.qos.can_consume() for channel in poller._channels)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def hand_over_safely(worker: Any) -> None:
    """What Redis hands to a worker that is gone is lost: see fleet_node.handover."""
    from fleet_node.patches import reliable_fetch

    reliable_fetch.install(_is_green(worker))


GUARDS: dict[str, tuple[Callable[[], bool], Callable[[Any], None]]] = {
    "broker-outage": (lambda: celery.__version__ == "5.7.0" and kombu.__version__ == "5.7.0", survive_a_broker_outage),
    "fetch-when-a-slot-is-free": (lambda: _version(kombu.__version__) <= (5, 7, 0), fetch_when_a_slot_is_free),
    "hand-over": (lambda: _version(kombu.__version__) == (5, 7, 0), hand_over_safely),
    "restore-in-green-pools": (lambda: _version(kombu.__version__) <= (5, 7, 0), restore_in_green_pools),
}
"""Name → (whether these versions need it, what mends it in a worker that is not connected yet)."""


def apply(worker: Any) -> list[str]:
    """Mend what these versions need, in the worker's main process. Returns the names."""
    applied = [name for name, (is_needed, _) in GUARDS.items() if is_needed()]
    for name in applied:
        GUARDS[name][1](worker)
    if applied:
        _log.debug("mended for celery %s and kombu %s: %s", celery.__version__, kombu.__version__, ", ".join(applied))
    return applied
