"""RabbitMQ. What waits in a queue can be counted, and not looked at: who reads a message takes it, and each time that it is given
back counts against it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fleet_node.broker.rabbitmq_letters import RabbitLetters, copy_of
from fleet_node.protocol import UnregisteredTasks

PATIENCE = 5.0
"""Seconds for RabbitMQ to take a connection."""
OWN_QUEUE = {"x-queue-type": "classic", "x-expires": 300_000}
"""Arguments of a queue that one worker has for a moment. It needs no copies, and goes by itself if nobody deletes it."""


class RabbitBroker:
    """See Broker."""

    def length(self, channel: Any, queue: str) -> int:
        return int(channel.queue_declare(queue, passive=True).message_count)

    def unregistered(self, channel: Any, queues: Iterable[str], known: frozenset[str], patience: float) -> UnregisteredTasks:
        """None is looked at: that would count as a delivery of each, and a message has so many before it is a dead letter."""
        lengths = [_length(channel.connection, queue) for queue in queues]
        return {"unregistered": {}, "looked_at": 0, "not_looked_at": sum(lengths)}

    def to_the_head(self, channel: Any, aside: str, queue: str) -> bool:
        """Only an empty queue's end is its head."""
        if self.length(channel, queue):
            return False
        if message := channel.basic_get(aside):
            channel.basic_publish(copy_of(message.body, message.properties), routing_key=queue)
            channel.basic_ack(message.delivery_tag)
        return True

    def own_queue(self, name: str) -> tuple[Any, dict[str, Any]]:
        from kombu import Exchange, Queue  # type: ignore[attr-defined]  # kombu's types are unfinished

        exchange = Exchange("")  # type: ignore[no-untyped-call]  # of which every queue has its name
        queue = Queue(name, exchange, routing_key=name, auto_delete=True, queue_arguments=OWN_QUEUE)  # type: ignore[no-untyped-call]
        return queue, {"exchange": "", "routing_key": name, "queue_auto_delete": True, "queue_arguments": OWN_QUEUE}

    def delete_own_queue(self, channel: Any, name: str) -> None:
        channel.queue_delete(name)

    def dead_letters(self, app: Any) -> RabbitLetters:
        return RabbitLetters(app)

    def options(self, seconds: float) -> dict[str, Any]:
        return {"connect_timeout": seconds, "read_timeout": seconds * 2, "write_timeout": seconds * 2}


@contextmanager
def connected(app: Any) -> Iterator[Any]:
    """A connection of the transport's, for a moment. Raises OSError if RabbitMQ does not take it."""
    with app.connection_for_write(connect_timeout=PATIENCE) as connection:
        yield connection.connection


def _length(connection: Any, queue: str) -> int:
    """Messages that wait in a queue; 0 if there is none: that closes the channel on which one asks."""
    from amqp.exceptions import NotFound

    channel = connection.channel()
    try:
        return int(channel.queue_declare(queue, passive=True).message_count)
    except NotFound:
        return 0
    finally:
        with suppress(Exception):  # RabbitMQ has closed it
            channel.close()
