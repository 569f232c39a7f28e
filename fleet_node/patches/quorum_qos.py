"""A worker of an early Celery consumes quorum queues.

Celery limits what a worker fetches from all of its queues together, with RabbitMQ before 4. Quorum queues know a limit for each
consumer alone, and RabbitMQ closes the connection of whoever asks for the other. Celery does the right thing from 5.5 on.
"""

from __future__ import annotations

from typing import Any

from fleet_node.patches.versions import Range, Versions

NAME = "quorum-qos"
AFFECTED = Versions(celery=Range("5.0", "5.4"))
SUPPORTED = Versions(celery=Range("5.3", "5.4"), kombu=Range("5.3", "5.7"))
POOLS: tuple[str, ...] = ()
BROKERS: tuple[str, ...] = ("amqp",)
REPLACES: tuple[str, ...] = ("kombu.transport.pyamqp.Transport.qos_semantics_matches_spec",)
MENDS = "a worker that consumes a quorum queue connects to RabbitMQ again and again, and gets no task"
ADVICE = "use Celery 5.5 or newer"
TEST = "tests/matrix/test_rabbitmq.py::test_a_worker_drains_and_is_well"
DELETE_WHEN = "celery 5.4 is not supported any more"


def apply(worker: Any) -> None:
    """See Patch."""
    from kombu.transport.pyamqp import Transport

    original: Any = Transport.qos_semantics_matches_spec
    queues = worker.app.amqp.queues

    def qos_semantics_matches_spec(self: Any, connection: Any) -> bool:
        kinds = [(queue.queue_arguments or {}).get("x-queue-type") for queue in queues.values()]
        return "quorum" in kinds or bool(original(self, connection))

    Transport.qos_semantics_matches_spec = qos_semantics_matches_spec  # type: ignore[method-assign]
