"""Queues of an app that RabbitMQ keeps on several nodes, and of which it counts how often a message came back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

TYPE = "x-queue-type"


def declare(app: Any) -> Iterator[str]:
    """Have this process declare each queue of an app as a quorum queue, unless the app says another type, in whichever version of
    Celery. Producers have to do the same. Yields in words which queues are no quorum queues."""
    queues = app.amqp.queues
    make = queues.new_missing

    def new_missing(name: str) -> Any:
        queue = make(name)
        _ask_for_quorum(queue)
        return queue

    queues.new_missing = new_missing
    for name in dict.fromkeys((*queues, *queues.consume_from)):
        if why := _ask_for_quorum(queues[name]):
            yield f"queue {name} is no quorum queue, so that none of its tasks is parked however often it kills its worker: {why}"


def _ask_for_quorum(queue: Any) -> str:
    """Why it cannot be one; empty if it is."""
    arguments = queue.queue_arguments or {}
    if TYPE in arguments:
        return "" if arguments[TYPE] == "quorum" else f"the app declares it as {arguments[TYPE]}"
    if queue.exclusive or queue.auto_delete or not queue.durable:
        return "it is exclusive, not durable or deleted with its consumer"
    if queue.max_priority is not None or "x-max-priority" in arguments:
        return "it has priorities"
    queue.queue_arguments = {**arguments, TYPE: "quorum"}
    return ""
