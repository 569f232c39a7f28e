"""The broker, as a port: what differs between Redis and RabbitMQ for workers and whoever asks them, in one place each.

`of()` tells them apart. What a broker cannot do is said by its answer: None, or False.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from fleet_node.protocol import UnregisteredTasks


class DeadLetters(Protocol):
    """Tasks that no worker can run, and how often a message that came back was begun. No method raises if the broker is away."""

    def count(self) -> int:
        """How many tasks are parked; 0 if the broker does not answer."""

    def park(self, message: Any, worker: str, begun: int, reason: str, unknown: bool = False) -> bool:
        """Park the task of a kombu message, which the caller acknowledges then. Returns whether the broker took it.

        worker: the node that parks it. begun: how often it was redelivered and begun. unknown: whether its release has no such
        task.
        """

    def send_unknown_again(self, app: Any) -> int:
        """Send again the tasks that were parked as unknown and that `app` has. Returns how many. For a worker that is ready."""

    def deliveries(self, message: Any, most: int) -> tuple[int, str]:
        """How often a redelivered message was begun, and why it came back. (0, "") if that is not known. most: what is asked
        for is whether it was more often."""

    def record(self, message: Any, most: int, begun: int, reason: str = "") -> None:
        """Count that a redelivered message was begun (`begun` times more), or record why it came back."""

    def forget(self, message: Any) -> None:
        """Forget how often a message was begun: its task has ended in order."""


class Broker(Protocol):
    """A kind of broker. channel: a kombu channel."""

    def length(self, channel: Any, queue: str) -> int:
        """Messages that wait in a queue."""

    def unregistered(self, channel: Any, queues: Iterable[str], known: frozenset[str], patience: float) -> UnregisteredTasks:
        """The tasks that wait or are in flight, and are not `known`. patience: seconds for reading."""

    def to_the_head(self, channel: Any, aside: str, queue: str) -> bool:
        """Move the message in the queue `aside` to the head of `queue`. Returns whether it will be among the next there: if not,
        it stays where it is. The message was sent over this channel's connection: of another, it may not have arrived."""

    def own_queue(self, name: str) -> tuple[Any, dict[str, Any]]:
        """A queue for one worker and a moment, and the options with which the worker is told to consume it (add_consumer)."""

    def delete_own_queue(self, channel: Any, name: str) -> None:
        """Leave nothing of it."""

    def dead_letters(self, app: Any) -> DeadLetters:
        """The dead letters of an app's broker, which need not answer yet."""

    def options(self, seconds: float) -> dict[str, Any]:
        """Options of the transport, with which a connection waits for so many seconds at most."""


def kind_of(connection: Any) -> str:
    """ "redis" or "amqp": what a kombu connection is to, which need not be open. Another word if it is neither."""
    return str(connection.get_transport_cls().driver_type)


def of(connection: Any) -> Broker:
    """The kind of broker that a kombu connection is to, which need not be open. Raises ValueError for one that the fleet does not
    know."""
    kind = kind_of(connection)
    if kind == "redis":
        from fleet_node.broker.redis import RedisBroker

        return RedisBroker()
    if kind == "amqp":
        from fleet_node.broker.rabbitmq import RabbitBroker

        return RabbitBroker()
    raise ValueError(
        f"a broker of the kind {kind!r} is not known to the fleet: use redis://, rediss://, sentinel://, amqp:// or amqps://"
    )


def of_app(app: Any) -> Broker:
    """The same of an app."""
    return of(app.connection_for_write())
