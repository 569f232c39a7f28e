"""A worker that holds tasks survives an outage of its broker.

celery 5.7.0 gives messages back over a connection that it has closed (worker/consumer/consumer.py,
on_connection_error_after_connected), and ends with an AttributeError. The same failure as a connection error has the worker
reconnect.
"""

from __future__ import annotations

from typing import Any

from fleet_node.patches.versions import Range, Versions

NAME = "broker-outage"
AFFECTED = Versions(celery=Range("5.7.0", "5.7.0"))
SUPPORTED = Versions(celery=Range("5.7.0", "5.7.0"), kombu=Range("5.7.0", "5.7.0"))
POOLS: tuple[str, ...] = ()
BROKERS: tuple[str, ...] = ("redis",)
REPLACES: tuple[str, ...] = ("kombu.transport.redis.Channel._connparams",)
MENDS = "a worker that holds tasks ends when its broker goes away (AttributeError 'hostname', celery#10242)"
ADVICE = "systemd starts it again after 2 s, and its tasks run again; with kombu 5.7.0 that is mended here"
TEST = "tests/unit/fleet_node/patches/test_patches.py::test_a_worker_with_tasks_survives_that_its_broker_goes_away"
DELETE_WHEN = "celery 5.7.0 is not supported any more"


def apply(worker: Any) -> None:
    """See Patch."""
    import redis
    from kombu.transport.redis import Channel

    original: Any = Channel._connparams

    def _connparams(self: Any, asynchronous: bool = False) -> Any:
        if self.connection.client is None:
            raise redis.ConnectionError("the connection to the broker was closed")
        return original(self, asynchronous)

    Channel._connparams = _connparams  # type: ignore[method-assign]
