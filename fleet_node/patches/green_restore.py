"""gevent and eventlet workers give back what a dead worker held.

In these pools an empty BRPOP raises before kombu looks for such messages (kombu/transport/redis.py, MultiChannelPoller.get). With
a polling interval kombu looks.
"""

from __future__ import annotations

from typing import Any

from fleet_node.patches.versions import Range, Versions

NAME = "green-restore"
AFFECTED = SUPPORTED = Versions(kombu=Range("5.0", "5.7.0"))
POOLS: tuple[str, ...] = ("gevent", "eventlet")
REPLACES: tuple[str, ...] = ()
MENDS = "gevent and eventlet workers do not give back what a crashed worker held (kombu#1025, #4968, #4976)"
ADVICE = "set polling_interval to 3 in the role's settings"
TEST = "tests/unit/fleet_node/patches/test_patches.py::test_a_gevent_worker_gives_back_what_a_dead_one_held"
DELETE_WHEN = "a release of kombu restores messages after an empty BRPOP, and no older one is supported"

POLLING_INTERVAL = 3
"""Seconds. Above the 2 that a drain of the broker's events takes."""


def apply(worker: Any) -> None:
    """See Patch."""
    options = worker.app.conf.broker_transport_options or {}
    worker.app.conf.broker_transport_options = {"polling_interval": POLLING_INTERVAL, **options}
