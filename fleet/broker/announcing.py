"""How a drill tells workers that it runs: they have its task only meanwhile. See protocol.DRILL_ANNOUNCED."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from redis import Redis, RedisError

from fleet.broker.port import is_amqp
from fleet_node.protocol import DRILL_ANNOUNCED, DRILL_TTL


class Announcer:
    """The announcement of one drill. url: of the Redis in which its tasks write down what they do."""

    def __init__(self, url: str, drill: str) -> None:
        self._client, self._drill = Redis.from_url(url), drill

    def announce(self) -> None:
        """Say that the drill runs, for DRILL_TTL seconds. Raises RedisError."""
        with self._client.pipeline() as pipeline:
            pipeline.sadd(DRILL_ANNOUNCED, self._drill)
            pipeline.expire(DRILL_ANNOUNCED, DRILL_TTL)
            pipeline.execute()

    def try_to_announce(self) -> None:
        """The same, of a Redis that may be away: the announcement outlives that."""
        with suppress(RedisError):
            self.announce()

    def withdraw(self) -> None:
        """Say that it is over."""
        self._client.srem(DRILL_ANNOUNCED, self._drill)

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def sender(url: str) -> Any:
    """A Celery app that sends tasks and asks workers, and keeps no results. To be closed."""
    from celery import Celery

    app = Celery("fleet", broker=url, set_as_current=False)
    app.conf.update(broker_url=url, result_backend="disabled://", task_ignore_result=True)
    if is_amqp(url):
        app.conf.broker_transport_options = {"confirm_publish": True}
    return app


def sent_to(url: str, queue: str) -> Any:
    """What a task is sent to: `queue` of Celery's send_task. A queue of RabbitMQ is as its app has declared it: whoever declares
    it otherwise is refused."""
    return directly(queue) if is_amqp(url) else queue


def directly(queue: str) -> Any:
    """The same, of a queue that is neither declared nor bound to an exchange for it."""
    from kombu import Exchange, Queue  # type: ignore[attr-defined]  # kombu's types are unfinished

    return Queue(queue, Exchange(""), routing_key=queue, no_declare=True)  # type: ignore[no-untyped-call]
