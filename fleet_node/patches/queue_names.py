"""A worker knows from which queue of RabbitMQ each task came, and where a delayed task was sent.

RabbitMQ says an exchange and a routing key. Celery's delayed delivery leaves a delay of 28 bits before the key, and its own
exchange: counts by queue would be by delay.
"""

from __future__ import annotations

import re
from typing import Any

from fleet_node.patches.versions import NEWER, Range, Versions

NAME = "queue-names"
AFFECTED = Versions(celery=Range("5", NEWER))
SUPPORTED = Versions(celery=Range("5.3", "5.7"))
POOLS: tuple[str, ...] = ()
BROKERS: tuple[str, ...] = ("amqp",)
REPLACES: tuple[str, ...] = ("celery.worker.consumer.consumer.Consumer.create_task_handler",)
MENDS = "a task that RabbitMQ has delayed is counted as one of a queue of its own, named after the delay"
ADVICE = "leave the queue out when you read the counts of such tasks"
TEST = "tests/unit/fleet_node/broker/test_rabbitmq_worker.py::test_a_delayed_task_is_of_its_queue_however_often_it_retries"
DELETE_WHEN = "celery gives requests the name of their queue, in all supported versions"

DELAYED = re.compile(r"(?:[01]\.){28}")


def apply(worker: Any) -> None:
    """See Patch."""
    from celery.worker.consumer.consumer import Consumer

    original: Any = Consumer.create_task_handler

    def create_task_handler(consumer: Any, *args: Any, **kwargs: Any) -> Any:
        handle = original(consumer, *args, **kwargs)
        queue_of: dict[str, str] = {}

        def on_task_received(message: Any) -> Any:
            info = message.delivery_info
            tag = info.get("consumer_tag", "")
            if tag not in queue_of:
                queue_of.update({tag: queue for queue, tag in tuple(consumer.task_consumer._active_tags.items())})
            name_queue(info, queue_of.get(tag), consumer.app.amqp.queues)
            return handle(message)

        return on_task_received

    Consumer.create_task_handler = create_task_handler


def name_queue(info: dict[str, Any], queue: str | None, queues: Any) -> None:
    """Put the queue into a message's delivery_info, and of one that was delayed the exchange and the key of its queue. queue: its
    name; None if it is not known. queues: of the app."""
    if queue:
        info["fleet_queue"] = queue
    key = info.get("routing_key") or ""
    if DELAYED.match(key):
        declared = queues.get(queue)
        info["routing_key"] = declared.routing_key if declared else DELAYED.sub("", key)
        if declared and declared.exchange:
            info["exchange"] = declared.exchange.name
