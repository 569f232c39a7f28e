"""A worker that has lost its broker is back soon.

kombu waits 2 s longer after each attempt, up to 30 s, and celery's consumer gives no interval of its own.
"""

from __future__ import annotations

from typing import Any

from fleet_node.patches.versions import NEWER, Range, Versions

NAME = "reconnect"
AFFECTED = Versions(kombu=Range("5", NEWER))
SUPPORTED = Versions(kombu=Range("5.3", "5.7"))
POOLS: tuple[str, ...] = ()
BROKERS: tuple[str, ...] = ()
REPLACES: tuple[str, ...] = ("kombu.connection.Connection.ensure_connection",)
MENDS = "a worker that has lost its broker may connect up to 30 s after the broker is back"
ADVICE = "restart the workers after an outage of the broker, or wait"
TEST = "tests/unit/fleet_node/patches/test_patches.py::test_a_lost_broker_is_tried_again_every_three_seconds"
DELETE_WHEN = "celery has a setting for the interval, in all supported versions"

LONGEST_WAIT = 3
"""Seconds between two attempts. An attempt costs the broker one connection."""


def apply(worker: Any) -> None:
    """See Patch."""
    from kombu.connection import Connection

    original: Any = Connection.ensure_connection

    def ensure_connection(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) < 5:
            kwargs.setdefault("interval_max", LONGEST_WAIT)
        return original(self, *args, **kwargs)

    Connection.ensure_connection = ensure_connection  # type: ignore[method-assign]
