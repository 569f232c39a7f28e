"""A worker's connection to RabbitMQ has heartbeats, whatever its pool does (`fleet_node.broker.heartbeats`)."""

from __future__ import annotations

from typing import Any

from fleet_node.patches.versions import NEWER, Range, Versions

NAME = "heartbeats"
AFFECTED = Versions(celery=Range("5", NEWER))
SUPPORTED = Versions(celery=Range("5.3", "5.7"), kombu=Range("5.3", "5.7"))
POOLS: tuple[str, ...] = ()
BROKERS: tuple[str, ...] = ("amqp",)
REPLACES: tuple[str, ...] = (
    "celery.worker.consumer.consumer.Consumer.connect",
    "kombu.transport.pyamqp.Transport.heartbeat_check",
)
MENDS = (
    "RabbitMQ notices the dead machine of a threads or solo worker after hours, and what a gevent worker computes runs twice, "
    "once elsewhere"
)
ADVICE = "use prefork"
TEST = "tests/unit/fleet_node/broker/test_rabbitmq_worker.py::test_what_a_silent_worker_held_comes_back"
DELETE_WHEN = "celery sends heartbeats from a thread, for all pools, in all supported versions"


def apply(worker: Any) -> None:
    """See Patch."""
    from celery.signals import worker_ready, worker_shutdown
    from celery.worker.consumer.consumer import Consumer
    from kombu.transport.pyamqp import Transport

    from fleet_node.broker.heartbeats import Heartbeats
    from fleet_node.patches import pool_of

    beats = Heartbeats(worker)
    connect_as_it_is: Any = Consumer.connect

    def connect(consumer: Any) -> Any:
        before = consumer.amqheartbeat
        consumer.amqheartbeat = consumer.app.conf.broker_heartbeat  # Celery has read it before the fleet set it
        try:
            return connect_as_it_is(consumer)
        finally:
            consumer.amqheartbeat = before

    def ready(**_: Any) -> None:
        beats.start()

    def shutdown(**_: Any) -> None:
        beats.stop()

    Consumer.connect = connect
    if pool_of(worker) != "prefork":  # a loop that stood still has not read what came, and would take RabbitMQ for dead
        Transport.heartbeat_check = lambda *_, **__: None  # type: ignore[method-assign]
    worker_ready.connect(ready, weak=False)
    worker_shutdown.connect(shutdown, weak=False)
