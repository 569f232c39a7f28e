"""A worker acknowledges a task to RabbitMQ when it has ended, and stops when it is told to.

Celery's main loop does both, when something comes from RabbitMQ or a timer is due: up to ten seconds later. Nobody wakes it for a
task that has ended in another thread, nor for SIGTERM. Up to Celery 5.6, the loop of a gevent or eventlet worker is as late by up
to two seconds. With a prefetch multiplier of 1 a slot is idle until then.
"""

from __future__ import annotations

from typing import Any

from fleet_node.patches.versions import NEWER, Range, Versions

NAME = "prompt-acks"
AFFECTED = Versions(celery=Range("5", NEWER))
SUPPORTED = Versions(celery=Range("5.3", "5.7"), kombu=Range("5.3", "5.7"))
POOLS: tuple[str, ...] = ()
BROKERS: tuple[str, ...] = ("amqp",)
REPLACES: tuple[str, ...] = (
    "celery.worker.consumer.consumer.Consumer.call_soon",
    "celery.worker.consumer.consumer.Consumer.register_with_event_loop",
)
MENDS = "a slot of a threads worker may be idle for seconds after each task, and a worker may take ten seconds to stop"
ADVICE = "use prefork with a prefetch_multiplier above 1"
TEST = "tests/unit/fleet_node/broker/test_rabbitmq_worker.py::test_threads_acknowledge_at_once"
DELETE_WHEN = "celery wakes its loop, in all supported versions"

AT_ONCE = ("ack_log_error", "reject_log_error")
"""Methods of messages that write to the connection and do nothing else. amqp has a lock for it since 5.4."""


def apply(worker: Any) -> None:
    """See Patch."""
    from celery.signals import worker_shutting_down
    from celery.worker.consumer.consumer import Consumer

    from fleet_node.delivery.wake import Wake

    wake = Wake()

    def replaced(original: Any) -> Any:
        def call_soon(consumer: Any, call: Any, *args: Any, **kwargs: Any) -> Any:
            if not consumer.hub and getattr(call, "__name__", "") in AT_ONCE:
                return call(*args, **kwargs)
            called = original(consumer, call, *args, **kwargs)
            wake.ring()
            return called

        return call_soon

    register: Any = Consumer.register_with_event_loop

    def register_with_event_loop(consumer: Any, hub: Any) -> None:
        register(consumer, hub)
        hub.add_reader(wake.fileno(), wake.clear)

    def stopping(**_: Any) -> None:
        wake.ring()

    Consumer.call_soon = replaced(Consumer.call_soon)
    if hasattr(Consumer, "call_soon_ack"):  # celery 5.7
        Consumer.call_soon_ack = replaced(Consumer.call_soon_ack)
    Consumer.register_with_event_loop = register_with_event_loop
    worker_shutting_down.connect(stopping, weak=False)
