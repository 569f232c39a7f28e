"""The Redis in which a drill announces itself, and its tasks write down what they do: the broker, or that of the results if the
broker is a RabbitMQ.

RabbitMQ cannot say reliably that a drill runs: while a quorum queue elects a leader, it counts no messages.
"""

from __future__ import annotations

import os
from typing import Any

from redis import Redis, RedisError

from fleet_node import broker
from fleet_node.delivery.clients import client_of_app
from fleet_node.outage import every_second
from fleet_node.protocol import DRILL_ANNOUNCED

SCHEMES = ("redis://", "rediss://")
PATIENCE = 3.0
"""Seconds for an answer."""
OUTAGE = 180
"""How often one that is away is tried again, every second, by what can wait: some drills break the broker."""


def of_app(app: Any, tries: int) -> Redis | None:
    """A client of it, as a machine of the fleet reaches it; None if results go elsewhere, where no drill can be. tries: how often
    one that is away is tried again, every second."""
    if broker.kind_of(app.connection_for_write()) == "redis":
        return client_of_app(app, patience=PATIENCE, retry=every_second(tries))
    url = os.environ.get("CELERY_RESULT_BACKEND", "")
    if not url.startswith(SCHEMES):
        return None
    return Redis.from_url(url, retry=every_second(tries), socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)


def is_announced(app: Any, tries: int = 0) -> bool:
    """Whether a drill runs. Raises RedisError, and OSError for a Redis that is not the broker: either has a worker connect
    anew."""
    client = of_app(app, tries)
    if client is None:
        return False
    with client:
        try:
            return bool(client.exists(DRILL_ANNOUNCED))
        except RedisError as error:
            if broker.kind_of(app.connection_for_write()) == "redis":
                raise
            raise OSError(f"the Redis of the results: {error}") from None
        finally:
            client.connection_pool.disconnect()
