"""Defects of Celery and kombu that lose tasks or workers, mended in the worker until a release does. Each with a test.

To delete one: when the versions that it names are no longer supported here, and its test in tests/unit/test_guards.py passes
without it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import celery
import kombu

_log = logging.getLogger(__name__)
GREEN = ("gevent", "eventlet")
POLLING_INTERVAL = 3
"""Seconds. Above the 2 that a drain of the broker's events takes."""


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
    if str(worker.pool_cls.__module__).rpartition(".")[2] in GREEN:
        options = worker.app.conf.broker_transport_options or {}
        worker.app.conf.broker_transport_options = {"polling_interval": POLLING_INTERVAL, **options}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


GUARDS: dict[str, tuple[Callable[[], bool], Callable[[Any], None]]] = {
    "broker-outage": (lambda: celery.__version__ == "5.7.0" and kombu.__version__ == "5.7.0", survive_a_broker_outage),
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
