"""RabbitMQ: queues that survive a node, producers that are told, and settings that are of Redis alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fleet.lint.app import App, AppQueue
from fleet.lint.finding import Violation, each_role, rule
from fleet.plan.plan import RABBITMQ_DEFAULT, Plan
from fleet.spec.pools import GREEN
from fleet.spec.reliability import TRANSPORT
from fleet.spec.text import enumerate_briefly

OF_REDIS = ("lease", "visibility_timeout")
"""Settings of the fleet that RabbitMQ has nothing for."""
APP_OPTIONS_OF_REDIS = (*TRANSPORT, "visibility_timeout", "retry_on_timeout", "max_connections")
"""Options of a transport that kombu's amqp does not know, and ignores."""
DELAYED_SINCE = (5, 5)
"""The Celery from which on RabbitMQ keeps tasks with an ETA."""
MISSING_SINCE = (5, 6)
"""The Celery from which on an app may say of which type the queues are that task_queues does not name."""
LOCKED_SINCE = (5, 4)
"""The py-amqp from which on threads may write to one connection."""


@rule("redis-setting", "error")
def redis_setting(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """RabbitMQ gives a worker's tasks back when its connection is gone. A lease, a visibility timeout and the options of a
    connection to Redis would be set for nothing."""
    if plan.fleet.transport != "amqp":
        return
    settings = plan.fleet.settings
    for name in OF_REDIS:
        if name in settings.model_fields_set:
            yield Violation(name, f"{getattr(settings, name)!r} is of Redis, and the broker is a RabbitMQ; leave it out")
    if names := [name for name in settings.left_to_app if name in TRANSPORT]:
        yield Violation("left_to_app", f"{', '.join(names)}: of a connection to Redis; leave them out")


@rule("redis-options", "warning")
def redis_options(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """kombu ignores options of Redis in a connection to RabbitMQ: what the app expects of them does not happen."""
    for app in _apps(plan, apps):
        options = _options(app)
        if names := [name for name in APP_OPTIONS_OF_REDIS if name in options]:
            yield Violation(f"{app.app}: broker_transport_options", f"{', '.join(names)}: of Redis, and ignored; leave them out")


@rule("queue-not-quorum", "error")
def queue_not_quorum(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Classic queues are gone with their node, count no redelivery, and are mirrored, if at all, by what RabbitMQ has taken out.
    Workers declare quorum queues. Producers that declare another type are refused, or refuse the workers."""
    for app in _apps(plan, apps):
        if names := sorted(queue.name for queue in _consumed(plan, app) if queue.kind != "quorum" and not queue.priorities):
            if "task_default_queue_type" in plan.fleet.settings.left_to_app:
                what = "classic queues, and gone with their node"
            else:
                what = "classic for producers, and quorum queues for workers, so that whoever comes second is refused"
            yield Violation(f"{app.app}: task_queues", f"{enumerate_briefly(names)}: {what}; {_how_quorum(app)}")


def _how_quorum(app: App) -> str:
    if _version(app.celery) >= MISSING_SINCE:
        return (
            'set task_default_queue_type = "quorum" and task_create_missing_queue_type = "quorum", and queue_arguments = '
            '{"x-queue-type": "quorum"} for each queue in task_queues'
        )
    return 'name them in task_queues, with queue_arguments = {"x-queue-type": "quorum"}'


@rule("queue-priorities", "error")
def queue_priorities(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Quorum queues have no priorities before RabbitMQ 4, and take no x-max-priority in any version."""
    for app in _apps(plan, apps):
        if names := sorted(queue.name for queue in _consumed(plan, app) if queue.priorities):
            yield Violation(
                f"{app.app}: task_queue_max_priority",
                f"{enumerate_briefly(names)}: a quorum queue has no priorities; leave it out, and give urgent tasks a queue of "
                "their own",
            )


@rule("eta-held", "error")
def eta_held(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """From Celery 5.5 on, RabbitMQ keeps tasks with an ETA, if they go through an exchange that is not direct. Otherwise a worker
    holds them, and fetches nothing else when it holds as many as it may."""
    for app in _apps(plan, apps):
        exchanges = {queue.name: queue.exchange for queue in _consumed(plan, app)}
        for placement in each_role(plan):
            worker = placement.worker
            direct = [queue for queue in worker.queues if exchanges.get(queue) == "direct"]
            if not worker.longest_eta:
                continue
            if _version(app.celery) < DELAYED_SINCE:
                why = f"Celery {app.celery} has its workers hold them: deploy 5.5 or later"
            elif app.settings.get("worker_detect_quorum_queues") is False:
                why = "worker_detect_quorum_queues is False, so that workers hold them: leave it out"
            elif direct:
                why = (
                    f"a direct exchange leads to {enumerate_briefly(direct)}, so that workers hold them: give each in "
                    f'task_queues a topic exchange of its own, as Queue("{direct[0]}", Exchange("{direct[0]}", type="topic"), '
                    f'"{direct[0]}", …)'
                )
            else:
                continue
            yield Violation(f"{placement.path}.longest_eta", f"{worker.longest_eta} s, and {why}")


@rule("consumer-timeout", "error")
def consumer_timeout(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """RabbitMQ closes the channel of a worker that has not acknowledged a task for so long, and all that it holds runs again
    elsewhere."""
    rabbitmq = plan.fleet.rabbitmq
    if rabbitmq and rabbitmq.consumer_timeout is not None and rabbitmq.consumer_timeout <= plan.longest_unacknowledged:
        yield Violation(
            "broker.consumer_timeout",
            f"{rabbitmq.consumer_timeout} is not above the {plan.longest_unacknowledged} s that a worker may hold a task; leave "
            "it out",
        )


@rule("consumer-timeout-unknown", "warning")
def consumer_timeout_unknown(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """What a RabbitMQ that others run has as consumer_timeout, only they know. Without one, it is half an hour."""
    longest = plan.longest_unacknowledged
    if plan.fleet.transport == "amqp" and not plan.fleet.rabbitmq and longest >= RABBITMQ_DEFAULT:
        yield Violation(
            "broker.url",
            f"a worker may hold a task for {longest} s, and RabbitMQ takes it back after {RABBITMQ_DEFAULT} s unless its "
            f"consumer_timeout is longer: have it set above {longest * 1000} (milliseconds), and silence this rule then",
        )


@rule("confirm-publish", "warning")
def confirm_publish(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A producer that waits for no confirm does not learn that its task was lost with a connection or a node."""
    for app in _apps(plan, apps):
        if not _options(app).get("confirm_publish"):
            yield Violation(
                f"{app.app}: broker_transport_options",
                'producers do not learn of tasks that RabbitMQ did not take; write {"confirm_publish": True}',
            )


@rule("green-tls", "warning")
def green_tls(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A gevent or eventlet worker behind TLS sends no heartbeats: RabbitMQ notices that its machine is gone when TCP does."""
    if plan.fleet.transport == "amqp" and plan.fleet.is_encrypted:
        for placement in each_role(plan):
            if placement.worker.pool in GREEN:
                yield Violation(
                    f"{placement.path}.pool",
                    f"{placement.worker.pool}, and the broker has TLS: the tasks of a machine that is gone come back after "
                    "minutes; write threads",
                )


@rule("amqp-version", "warning")
def amqp_version(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Threads of a worker write to one connection. py-amqp has a lock for that since 5.4, and mixes up what they write before."""
    for app in _apps(plan, apps):
        if app.amqp and _version(app.amqp) < LOCKED_SINCE:
            yield Violation(f"{app.app}: amqp {app.amqp}", "threads of a worker may break its connection; pin 5.4 or later")


@rule("drill-without-redis", "note")
def drill_without_redis(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A drill counts its tasks in the Redis of the results."""
    if plan.fleet.transport == "amqp" and plan.fleet.settings.result_backend in ("none", "app"):
        yield Violation(
            "result_backend", f'"{plan.fleet.settings.result_backend}": `fleet drill` needs a Redis of results, as "@RESULT_URL"'
        )


def _apps(plan: Plan, apps: tuple[App, ...]) -> tuple[App, ...]:
    """The apps, if the broker is a RabbitMQ."""
    return apps if plan.fleet.transport == "amqp" else ()


def _options(app: App) -> dict[str, Any]:
    options = app.settings.get("broker_transport_options")
    return options if isinstance(options, dict) else {}


def _consumed(plan: Plan, app: App) -> Iterator[AppQueue]:
    """How the app declares the queues that the fleet consumes. Those that it does not name are made as it makes missing ones."""
    declared = {queue.name: queue for queue in app.declared}
    has_types = _version(app.celery) >= MISSING_SINCE  # an earlier Celery knows neither setting, and ignores it
    kind = (has_types and app.settings.get("task_create_missing_queue_type")) or "classic"
    exchange = (has_types and app.settings.get("task_create_missing_queue_exchange_type")) or "direct"
    for name in plan.consumers:
        yield declared.get(name) or AppQueue(name=name, kind=kind, exchange=exchange)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
