"""A worker parks tasks that it cannot run, instead of trying them for ever or throwing them away: they become dead letters of its
broker (`fleet_node.broker`). `fleet parked` lists them, sends them again, or drops them.

Tasks that took their worker down: a message that comes a second time carries a mark of the transport's. Only such messages are
counted, each time that one is begun, until its task ends in order; a message that a stop gave back unbegun is not counted. A
message that comes once more than FLEET_MAX_DELIVERIES allows is parked, and its task's result is a failure.

Tasks that the release does not have: during a rollout an old worker gets tasks that a new one sends. They are parked without a
result, and the first worker to come up that has them sends them again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from fleet_node.patches.versions import NEWER, Range, Versions
from fleet_node.protocol import OWN_TASKS

NAME = "parking"
AFFECTED = Versions(celery=Range("5", NEWER))
SUPPORTED = Versions(celery=Range("5.3", "5.7"))
POOLS: tuple[str, ...] = ()
BROKERS: tuple[str, ...] = ()
REPLACES: tuple[str, ...] = (
    "celery.worker.consumer.consumer.Consumer.on_unknown_task",
    "celery.app.task.Task.Strategy",
    "celery.app.task.Task.Request",
)
MENDS = "a task that a release does not have is thrown away, and a task that kills its worker is tried again for ever"
ADVICE = "deploy the workers before the producers, and set reject_on_worker_lost to False for tasks that may kill a worker"
TEST = "tests/unit/fleet_node/worker/test_parking.py::test_what_another_release_sends_is_kept_for_it"
DELETE_WHEN = "never: Celery means it so"

MOST_UNKNOWN = 10_000
"""Parked tasks above which an unknown task is thrown away, as Celery does: a producer sends them all the time."""

_log = logging.getLogger("celery.worker.fleet")


def apply(worker: Any) -> None:
    """See Patch."""
    from celery.signals import worker_ready
    from celery.worker.consumer.consumer import Consumer

    from fleet_node import broker

    letters = broker.of_app(worker.app).dead_letters(worker.app)
    most = int(os.environ.get("FLEET_MAX_DELIVERIES") or 0)
    count: Callable[[Any], None] = counter(letters, most) if most > 0 else lambda _: None
    for task in worker.app.tasks.values():
        count(task)
    throw_away = Consumer.on_unknown_task

    def on_unknown_task(consumer: Any, body: Any, message: Any, exc: Any) -> Any:
        if (message.headers or {}).get("task") in OWN_TASKS:
            return take_up_own(consumer, message, count)
        many = letters.count()
        if many >= MOST_UNKNOWN:
            _log.critical("%s tasks are parked: one that is not known is thrown away", many)
        if many >= MOST_UNKNOWN or not (message.headers or {}).get("id"):  # a message of Celery 3 has its id in the body
            return throw_away(consumer, body, message, exc)
        return park_unknown(letters, consumer, message)

    def ready(sender: Any, **_: Any) -> None:
        letters.send_unknown_again(sender.app)

    Consumer.on_unknown_task = on_unknown_task
    worker_ready.connect(ready, weak=False)


def take_up_own(consumer: Any, message: Any, count: Callable[[Any], None]) -> Any:
    """Run the task of a drill or a benchmark, if one is announced (`drill_tasks`). If not, the task is left over, and dropped."""
    from celery.app.trace import build_tracer
    from celery.exceptions import NotRegistered
    from redis.exceptions import ResponseError

    name, ident = message.headers["task"], message.headers.get("id")
    try:
        task = consumer.app.tasks[name]
    except NotRegistered:
        _log.warning("Task %s[%s] dropped: its drill does not run any more", name, ident)
        message.ack_log_error(_log, consumer.connection_errors)
        return None
    except ResponseError as error:  # the broker answers, and cannot say: the message stays with the worker until it ends
        _log.error("Task %s[%s]: whether a drill runs is not known: %s", name, ident, error)
        return None
    count(task)
    consumer.strategies[name] = task.start_strategy(consumer.app, consumer)
    task.__trace__ = build_tracer(name, task, consumer.app.loader, consumer.hostname, app=consumer.app)
    return consumer.task_consumer.on_message(message)


def park_unknown(letters: Any, consumer: Any, message: Any) -> None:
    """Park a task that the release does not have. If the broker refuses it, the message stays with the worker until it ends."""
    release = os.environ.get("FLEET_RELEASE") or "this worker"
    if letters.park(message, consumer.hostname, 0, f"no task of {release}", unknown=True):
        line = "Task %s[%s] parked: no task of %s. A worker that has it sends it again"
        _log.error(line, message.headers.get("task"), message.headers.get("id"), release)
        message.ack_log_error(_log, consumer.connection_errors)


def counter(letters: Any, most: int) -> Callable[[Any], None]:
    """A function that has a task's messages counted, and parked after `most` redeliveries."""
    from celery.utils.imports import symbol_by_name
    from celery.worker.strategy import default

    from fleet_node.worker.parking import MemoryKills

    kills = MemoryKills()  # a process that was killed before is no process of this worker

    def strategy(task: Any, app: Any, consumer: Any, **more: Any) -> Any:
        """Celery's own strategy, for messages that may run."""
        handle = default(task, app, consumer, **more)

        def handle_or_park(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
            if is_redelivered(message):
                begun, reason = letters.deliveries(message, most)
                if begun >= most and park_poisonous(letters, task, app, consumer, message, begun, reason):
                    message.ack_log_error(_log, consumer.connection_errors)
                    return None
            return handle(message, body, ack, reject, callbacks, **more)

        return handle_or_park

    requests: dict[type, type] = {}

    def count(task: Any) -> None:
        kind = type(task)
        # An app may have a strategy of its own, and does with its messages what it wants.
        if kind.Strategy == "celery.worker.strategy:default":
            base = symbol_by_name(kind.Request)
            kind.Strategy = staticmethod(strategy)
            kind.Request = requests.setdefault(base, counting(base, letters, most, kills))

    return count


def is_redelivered(message: Any) -> bool:
    """Whether this very message came before. The copy of the mark among its headers says less: every retry inherits it."""
    return bool((message.delivery_info or {}).get("redelivered"))


def counting(base: type, letters: Any, most: int, kills: Any) -> type:
    """A class of requests that count how often their message is begun, until the task ends in order."""
    from celery.exceptions import Reject, WorkerLostError

    class Counting(base):  # type: ignore[misc]
        def on_accepted(self, pid: int, time_accepted: float) -> None:
            if is_redelivered(self._message):
                letters.record(self._message, most, 1)
            super().on_accepted(pid, time_accepted)

        def acknowledge(self) -> None:
            if not self.acknowledged and is_redelivered(self._message):
                letters.forget(self._message)
            super().acknowledge()

        def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
            error = getattr(exc_info.exception, "exc", exc_info.exception)
            if isinstance(error, (WorkerLostError, SystemExit)):
                memory = " (killed for memory: the unit's MemoryMax)" if kills.happened() else ""
                letters.record(self._message, most, 0, f"{error or 'its process exited'}{memory}")
            elif isinstance(error, Reject) and is_redelivered(self._message):
                letters.forget(self._message)  # the task asks to be sent again, and took no worker down
            return super().on_failure(exc_info, *args, **kwargs)

    return Counting


def park_poisonous(letters: Any, task: Any, app: Any, consumer: Any, message: Any, begun: int, reason: str) -> bool:
    """Park a task that took its worker down too often. Returns whether the broker took it."""
    from celery.exceptions import WorkerLostError
    from celery.utils.imports import symbol_by_name

    reason = reason or "its worker ended before it did"
    if not letters.park(message, consumer.hostname, begun, reason):
        return False
    task_id = message.headers["id"]
    failure = f"parked after {begun} redeliveries: {reason}"
    _log.critical("Task %s[%s] %s", task.name, task_id, failure)
    try:  # a producer may wait for the result
        request = symbol_by_name(task.Request)(message, app=app, task=task, hostname=consumer.hostname, decoded=False)
        context, store = request._context, request.store_errors
        app.backend.mark_as_failure(task_id, WorkerLostError(failure), request=context, store_result=store)
    except Exception as error:  # the backend is away, or the message cannot be read: the task is parked all the same
        _log.warning("%s[%s]: its result is not told: %s", task.name, task_id, error)
    return True
