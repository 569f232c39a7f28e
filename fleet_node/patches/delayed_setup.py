"""A worker sets up delayed delivery once, and only if one of its queues can use it.

Celery declares 28 quorum queues for it at each connection, through each node that broker_url names, and even if all exchanges are
direct, which cannot use them. The nodes of a cluster share their queues. While a worker declares, it takes no tasks: on busy
nodes for minutes, and for seconds more for each node that is away.
"""

from __future__ import annotations

import logging
from typing import Any

from fleet_node.patches.versions import NEWER, Range, Versions

NAME = "delayed-setup"
AFFECTED = Versions(celery=Range("5.5", NEWER))
SUPPORTED = Versions(celery=Range("5.5", "5.7"), kombu=Range("5.5", "5.7"))
POOLS: tuple[str, ...] = ()
BROKERS: tuple[str, ...] = ("amqp",)
REPLACES: tuple[str, ...] = ("celery.worker.consumer.delayed_delivery.DelayedDelivery.start",)
MENDS = "a worker of a RabbitMQ of several nodes may take minutes to start or to reconnect"
ADVICE = "name one address of that RabbitMQ in broker_url"
TEST = "tests/unit/fleet_node/broker/test_rabbitmq_worker.py::test_delayed_delivery_is_set_up_once_and_by_a_node_that_is_there"
DELETE_WHEN = "celery sets delayed delivery up once for all nodes, and not for direct exchanges, in all supported versions"

_log = logging.getLogger("celery.worker.fleet")


def apply(worker: Any) -> None:
    """See Patch."""
    from celery.worker.consumer.delayed_delivery import DelayedDelivery

    def start(step: Any, consumer: Any) -> None:
        app = consumer.app
        if not any(can_be_delayed(queue) for queue in app.amqp.queues.values()):
            return
        step._validate_configuration(app)
        error: Exception | None = None
        for url in step._validate_broker_urls(app.conf.broker_url):
            try:
                step._setup_delayed_delivery(consumer, url)
                return
            except Exception as failure:
                error = failure
        if isinstance(error, OSError):
            raise error  # no node is there, and the worker connects anew
        _log.critical("tasks with an ETA wait in workers: delayed delivery cannot be set up: %s", error)

    DelayedDelivery.start = start


def can_be_delayed(queue: Any) -> bool:
    """Whether a kombu queue has an exchange whose messages RabbitMQ can hold until they are due."""
    exchanges = [queue.exchange] if queue.exchange else [binding.exchange for binding in queue.bindings]
    return any(exchange.type != "direct" for exchange in exchanges)
