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
MENDS = "a task of a solo or gevent worker that computes for a minute is given to another while it runs"
ADVICE = "use prefork for tasks that compute"
TEST = "tests/unit/fleet_node/broker/test_rabbitmq_worker.py::test_what_a_silent_worker_held_comes_back"
DELETE_WHEN = "celery sends heartbeats from a thread, for all pools, in all supported versions"

GREEN = ("gevent", "eventlet")


def apply(worker: Any) -> None:
    """See Patch."""
    from celery.signals import worker_shutdown
    from celery.worker.consumer.consumer import Consumer
    from kombu.transport.pyamqp import Transport

    from fleet_node.broker.heartbeats import Heartbeats, is_encrypted
    from fleet_node.patches import pool_of

    pool = pool_of(worker)
    beats = Heartbeats(worker, with_tls=pool == "solo")
    connect_as_it_is: Any = Consumer.connect
    check_as_it_is: Any = Transport.heartbeat_check

    def connect(consumer: Any) -> Any:
        before = consumer.amqheartbeat
        # Celery has read it before the fleet set it. A green worker that sends heartbeats through TLS does not end when told to.
        silent = pool in GREEN and is_to_be_encrypted(consumer.app.connection_for_read())
        consumer.amqheartbeat = 0 if silent else consumer.app.conf.broker_heartbeat
        try:
            return connect_as_it_is(consumer)
        finally:
            consumer.amqheartbeat = before
            beats.start()  # the main loop, which sends them otherwise, begins when all is declared

    def heartbeat_check(self: Any, connection: Any, rate: int = 2) -> Any:
        """A loop that stood still has not read what came, and would take RabbitMQ for dead: the thread checks."""
        return check_as_it_is(self, connection, rate) if is_encrypted(connection) and pool != "solo" else None

    def shutdown(**_: Any) -> None:
        beats.stop()

    Consumer.connect = connect
    if pool != "prefork":
        Transport.heartbeat_check = heartbeat_check  # type: ignore[method-assign]
    worker_shutdown.connect(shutdown, weak=False)


def is_to_be_encrypted(connection: Any) -> bool:
    """Whether a kombu connection that is not open yet will have TLS."""
    return bool(connection.ssl) or connection.transport_cls == "amqps"
