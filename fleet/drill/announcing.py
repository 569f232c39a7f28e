"""How a drill tells workers that it runs: they have its task only meanwhile. See protocol.DRILL_ANNOUNCED."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Protocol

from redis import Redis, RedisError

from fleet.broker.port import is_amqp
from fleet_node.protocol import DRILL_ANNOUNCED, DRILL_TTL

PATIENCE = 5.0
"""Seconds for RabbitMQ to take a connection."""
QUEUE = {"x-queue-type": "quorum", "x-max-length": 1}
"""Arguments of the queue with the announcement. It outlives the loss of a node, and stays: when a quorum queue expires while a
node is slow, RabbitMQ 3.10 can forget one of its copies, and then refuses a queue of that name (`cluster_not_formed`)."""


class Announcer(Protocol):
    """The announcement of one drill."""

    def announce(self) -> None:
        """Say that the drill runs, for DRILL_TTL seconds. Raises an error of the broker's client."""

    def try_to_announce(self) -> None:
        """The same, of a broker that may be away: the announcement outlives that."""

    def withdraw(self) -> None:
        """Say that it is over."""

    def close(self) -> None:
        """End the connection."""


def announcer(url: str, ledger: str, drill: str) -> Announcer:
    """Of a drill. url: of the broker. ledger: of the Redis in which its tasks write down what they do."""
    in_ledger = RedisAnnouncer(ledger, drill)
    return RabbitAnnouncer(url, in_ledger) if is_amqp(url) else in_ledger


class RedisAnnouncer:
    """See Announcer."""

    def __init__(self, url: str, drill: str) -> None:
        self._client, self._drill = Redis.from_url(url), drill

    def announce(self) -> None:
        with self._client.pipeline() as pipeline:
            pipeline.sadd(DRILL_ANNOUNCED, self._drill)
            pipeline.expire(DRILL_ANNOUNCED, DRILL_TTL)
            pipeline.execute()

    def try_to_announce(self) -> None:
        with suppress(RedisError):
            self.announce()

    def withdraw(self) -> None:
        self._client.srem(DRILL_ANNOUNCED, self._drill)

    def close(self) -> None:
        self._client.close()


class RabbitAnnouncer:
    """See Announcer. Workers ask RabbitMQ whether a drill runs, and its tasks ask the ledger for their own. Each announcement is
    a connection of its own: a drill may break what it goes through."""

    def __init__(self, url: str, in_ledger: RedisAnnouncer) -> None:
        self._url, self._in_ledger = url, in_ledger

    def announce(self) -> None:
        self._in_ledger.announce()
        self._announce_here()

    def _announce_here(self) -> None:
        from amqp import Message

        from fleet.broker.rabbitmq import connected

        with connected(self._url, PATIENCE) as connection:
            channel = connection.channel()
            channel.queue_declare(DRILL_ANNOUNCED, durable=True, auto_delete=False, arguments=QUEUE)
            message = Message("", expiration=str(DRILL_TTL * 1000), delivery_mode=2)
            channel.basic_publish(message, routing_key=DRILL_ANNOUNCED, confirm_timeout=PATIENCE)

    def try_to_announce(self) -> None:
        from amqp.exceptions import AMQPError

        self._in_ledger.try_to_announce()
        with suppress(AMQPError, OSError):
            self._announce_here()

    def withdraw(self) -> None:
        """What workers are told may be another drill's: it ends by itself."""
        self._in_ledger.withdraw()

    def close(self) -> None:
        self._in_ledger.close()


def sent_to(url: str, queue: str) -> Any:
    """What a task is sent to: `queue` of Celery's send_task. A queue of RabbitMQ is as its app has declared it: whoever declares
    it otherwise is refused."""
    if not is_amqp(url):
        return queue
    from kombu import Exchange, Queue  # type: ignore[attr-defined]  # kombu's types are unfinished

    return Queue(queue, Exchange(""), routing_key=queue, no_declare=True)  # type: ignore[no-untyped-call]
