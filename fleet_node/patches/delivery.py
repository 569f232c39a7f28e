"""A worker holds messages by a lease, and takes them so that none is lost on the way (`fleet_node.delivery`).

kombu's BRPOP hands a message over before anything is written down: what Redis has sent to a worker that is gone is lost. What a
dead worker held waits for the visibility timeout, which has to be longer than the longest task.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from fleet_node.patches.versions import NEWER, Range, Versions

NAME = "delivery"
AFFECTED = Versions(kombu=Range("5.0", NEWER))
SUPPORTED = Versions(celery=Range("5.3", "5.7"), kombu=Range("5.3", "5.7"))
POOLS: tuple[str, ...] = ()
BROKERS: tuple[str, ...] = ("redis",)
REPLACES: tuple[str, ...] = (
    "celery.worker.consumer.consumer.Consumer.connect",
    "celery.worker.request.Request.revoked",
    "celery.worker.request.Request.on_accepted",
    "celery.worker.request.Request.acknowledge",
)
MENDS = (
    "a reset machine or a cut network may lose a task for each of its workers, and what a dead worker held waits for the "
    "visibility timeout"
)
ADVICE = "pin versions that are supported, and set visibility_timeout above your longest task"
TEST = "tests/unit/fleet_node/delivery/test_lease.py::test_what_a_dead_worker_held_is_back_when_its_lease_has_ended"
DELETE_WHEN = "a release of kombu takes messages without BRPOP and has leases, and no older one is supported"

_log = logging.getLogger("celery.worker.fleet")


def apply(worker: Any) -> None:
    """See Patch. The Delivery is `worker.fleet_delivery`."""
    from celery.signals import task_received, worker_ready, worker_shutdown
    from celery.worker import state
    from celery.worker.consumer.consumer import Consumer
    from celery.worker.request import Request

    from fleet_node.delivery.delivery import Delivery, NoScriptsError
    from fleet_node.delivery.transport import take_over
    from fleet_node.worker.settings import of_environment

    delivery = worker.fleet_delivery = Delivery(worker, of_environment().get("lease", None))
    connect_as_it_is, revoked = Consumer.connect, Request.revoked
    on_accepted, acknowledge_as_it_is = Request.on_accepted, Request.acknowledge
    scripts_work = True

    def connect(consumer: Any) -> Any:
        nonlocal scripts_work
        if not scripts_work or consumer.app.connection_for_read().transport.driver_type != "redis":
            return connect_as_it_is(consumer)
        replace_calls(consumer, delivery)
        hold_back_while_unsure(consumer, delivery)
        connection = consumer.app.connection_for_read(heartbeat=consumer.amqheartbeat)
        take_over(connection, delivery)
        connection = consumer.ensure_connected(connection)
        try:
            delivery.enter(connection.default_channel)
        except NoScriptsError as error:
            scripts_work = False
            _log.error("the broker refuses scripts, which kombu needs as well: allow its user +@scripting. %s", error)
            connection.release()
            return connect_as_it_is(consumer)
        if consumer.hub:
            connection.transport.register_with_event_loop(connection.connection, consumer.hub)
        return connection

    def is_revoked(request: Any) -> bool:
        if request in delivery.requests.dropped or (delivery.begins_in_loop() and not delivery.admission.may_begin(request)):
            state.task_ready(request)
            return True
        return bool(revoked(request))

    def accepted(request: Any, *args: Any, **kwargs: Any) -> Any:
        if delivery.acknowledges_elsewhere() and not delivery.admission.may_begin(request):
            state.task_ready(request)
            raise _silent_exit()  # before the task begins, in pools of threads
        result = on_accepted(request, *args, **kwargs)
        if delivery.loop_waits_for_tasks() and not request.task.acks_late:
            delivery.acknowledge_first()
        return result

    def acknowledge(request: Any) -> None:
        if delivery.loop_waits_for_tasks() and getattr(request, "_already_cancelled", False):
            return  # gevent calls a task a success that Celery has killed with its worker; the message is given back
        acknowledge_as_it_is(request)

    def received(request: Any, **_: Any) -> None:
        delivery.requests.add(request)

    def ready(sender: Any, **_: Any) -> None:
        if delivery.is_entered and sender.connection:
            delivery.ready(sender.connection.default_channel)

    def shutdown(**_: Any) -> None:
        delivery.leave()

    Consumer.connect, Request.revoked = connect, is_revoked
    Request.on_accepted, Request.acknowledge = accepted, acknowledge
    task_received.connect(received, weak=False)
    worker_ready.connect(ready, weak=False)
    worker_shutdown.connect(shutdown, weak=False)


def replace_calls(consumer: Any, delivery: Any) -> None:
    """Tasks that end in other threads are acknowledged by the main loop, which Celery 5.7 alone wakes up for it.

    A loop that waits for tasks would be too late for those that are acknowledged before they begin.
    """

    def replaced(original: Any) -> Any:
        def call_soon(call: Any, *args: Any, **kwargs: Any) -> Any:
            if delivery.loop_waits_for_tasks() and getattr(call, "__name__", "") == "ack_log_error":
                return call(*args, **kwargs)
            called = original(consumer, call, *args, **kwargs)
            if delivery.acknowledges_elsewhere():
                delivery.open_pipe().ring()
            return called

        return call_soon

    consumer.call_soon = replaced(type(consumer).call_soon)
    if hasattr(consumer, "call_soon_ack"):  # celery 5.7
        consumer.call_soon_ack = replaced(type(consumer).call_soon_ack)


def hold_back_while_unsure(consumer: Any, delivery: Any) -> None:
    """A prefork pool hands tasks to its processes only while its worker is sure of its lease: they cannot be called back."""
    original = type(consumer).register_with_event_loop

    def register_with_event_loop(hub: Any) -> None:
        original(consumer, hub)
        write = hub.consolidate_callback  # of the pool; None if it has no processes
        if write:
            hub.consolidate_callback = lambda ready: write(ready) if delivery.admission.may_hand_out() else None

    consumer.register_with_event_loop = register_with_event_loop


def _silent_exit() -> BaseException:
    greenlet: Any = sys.modules.get("greenlet")
    return greenlet.GreenletExit() if greenlet else SystemExit()
