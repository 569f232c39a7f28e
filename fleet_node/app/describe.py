"""Describes an app: its tasks, where each is routed, and the settings that it fixes."""

from __future__ import annotations

import re
from datetime import timedelta
from importlib import metadata
from typing import Any

import celery
import kombu

from fleet_node import patches
from fleet_node.app import schedule
from fleet_node.app.tried import untried
from fleet_node.protocol import AppDescription, PatchDescription, QueueDescription, TaskDescription

SETTINGS = (
    "broker_heartbeat",
    "broker_transport_options",
    "result_backend_transport_options",
    "task_always_eager",
    "task_create_missing_queue_exchange_type",
    "task_create_missing_queue_type",
    "task_create_missing_queues",
    "task_default_exchange_type",
    "task_default_queue_type",
    "visibility_timeout",
    "worker_concurrency",
    "worker_detect_quorum_queues",
    "worker_enable_remote_control",
    "worker_max_tasks_per_child",
    "worker_pool",
    "worker_prefetch_multiplier",
    "worker_send_task_events",
)
"""Settings that are described if their value is not Celery's own."""


def describe(app: Any, name: str) -> AppDescription:
    """Describe an app that is loaded and finalized. name: what follows `celery -A`.

    There is no secret in it: of a URL it has scheme and hosts, of options (a dict) only numbers.
    """
    return {
        "app": name,
        "celery": celery.__version__,
        "kombu": kombu.__version__,
        "amqp": _amqp(),
        "tasks": [_task(app, name) for name in sorted(app.tasks) if not name.startswith(("celery.", "fleet."))],
        "queues": sorted(_declared(app)),
        "declared": [_queue(queue) for _, queue in sorted(app.amqp.queues.items())],
        "default_queue": app.conf.task_default_queue,
        "settings": _settings(app),
        "broker": _broker(app),
        "patches": patches_of(celery.__version__, kombu.__version__),
        "schedule": sorted(map(str, app.conf.beat_schedule or ())),
        "entries": schedule.entries(app, _destinations),
        "scheduler": schedule.scheduler(app),
        "untried": untried(versions()),
    }


def versions() -> dict[str, str]:
    """The installed versions of Celery and of what it takes messages with, by package. redis only if it is there."""
    installed = {"celery": celery.__version__, "kombu": kombu.__version__}
    try:
        return {**installed, "redis": metadata.version("redis")}
    except metadata.PackageNotFoundError:
        return installed


def _amqp() -> str:
    """The version of what takes messages from RabbitMQ; empty if it is not there."""
    try:
        return metadata.version("amqp")
    except metadata.PackageNotFoundError:
        return ""


def patches_of(celery_version: str, kombu_version: str) -> list[PatchDescription]:
    """The defects of these versions, and whether a worker mends them."""
    return [
        {
            "name": entry.patch.NAME,
            "mends": entry.patch.MENDS,
            "mended": entry.mended,
            "advice": entry.patch.ADVICE,
            "pools": list(entry.patch.POOLS),
            "brokers": list(entry.patch.BROKERS),
        }
        for entry in patches.applicable(celery_version, kombu_version)
    ]


def _task(app: Any, name: str) -> TaskDescription:
    task = app.tasks[name]
    description: TaskDescription = {
        "name": name,
        "queues": [],
        # The task's own, or task_time_limit (Celery 5.7): it travels in the message, and goes before the worker's flag.
        "time_limit": _seconds(task.time_limit),
        "soft_time_limit": _seconds(task.soft_time_limit),
        "acks_late": bool(task.acks_late),
        "reject_on_worker_lost": bool(task.reject_on_worker_lost),
        "retry_delay": _longest_retry_delay(task),
    }
    try:
        # As apply_async does: the task's own options go before the routes.
        options = app.amqp.router.route({**task._get_exec_options()}, name, (), {}, task)
        description["queues"] = _destinations(app, options)
    except Exception as error:  # a router is the app's own code
        description["route_error"] = f"{type(error).__name__}: {error}"
    return description


def _longest_retry_delay(task: Any) -> float | None:
    """Seconds before the last retry: the default delay, that of retry_kwargs, or the longest that retry_backoff grows to."""
    delay = _seconds(task.default_retry_delay)
    if not getattr(task, "autoretry_for", None):
        return delay
    of_retry = getattr(task, "retry_kwargs", None) or {}
    factor = _seconds(getattr(task, "retry_backoff", None))  # True is 1 second
    if not factor:
        return max(delay or 0, _seconds(of_retry.get("countdown")) or 0)
    retries = of_retry.get("max_retries", task.max_retries)
    retries = retries if isinstance(retries, int) else 60
    most = _seconds(getattr(task, "retry_backoff_max", None)) or 600  # Celery's own
    last: float = min(most, float(factor) * 2 ** min(retries, 60))
    return max(delay or 0, last)


def _declared(app: Any) -> list[str]:
    """Names in task_queues, which may be a dict, or hold kombu's Queues or plain names."""
    return [getattr(queue, "name", queue) for queue in app.conf.task_queues or ()]


def _queue(queue: Any) -> QueueDescription:
    arguments = queue.queue_arguments or {}
    return {
        "name": queue.name,
        "kind": str(arguments.get("x-queue-type", "classic")),
        "exchange": queue.exchange.type if queue.exchange else "direct",
        "exchange_name": queue.exchange.name if queue.exchange else "",
        "key": str(queue.routing_key or ""),
        "durable": bool(queue.durable and not queue.auto_delete and not queue.exclusive),
        "priorities": queue.max_priority is not None or "x-max-priority" in arguments,
    }


def _destinations(app: Any, options: dict[str, Any]) -> list[str]:
    """The queues that a message with these options lands in: the one named, or those bound to its exchange by its routing key."""
    queue = options.get("queue")
    if queue:
        return [getattr(queue, "name", queue)]
    exchange = options.get("exchange") or app.conf.task_default_exchange or app.conf.task_default_queue
    name = getattr(exchange, "name", exchange)
    key = options.get("routing_key") or app.conf.task_default_routing_key or app.conf.task_default_queue
    bound = [queue for queue in app.amqp.queues.values() if queue.exchange is not None and queue.exchange.name == name]
    return [queue.name for queue in bound if _is_bound(queue.exchange.type, queue.routing_key or "", key)]


def _is_bound(kind: str, binding: str, key: str) -> bool:
    if kind == "topic":
        words = {"*": r"[^.]+", "#": r".*"}
        pattern = r"\.".join(words.get(word, re.escape(word)) for word in binding.split("."))
        return re.fullmatch(pattern.replace(r"\..*", r"(\..*)?"), key) is not None
    return kind == "fanout" or binding == key


def _settings(app: Any) -> dict[str, Any]:
    from celery.app.defaults import DEFAULTS

    settings = {}
    for name in SETTINGS:
        value = app.conf.get(name, None)
        if value not in (None, DEFAULTS.get(name)):
            settings[name] = _plain(value)
    for name in ("broker_read_url", "broker_write_url"):
        if hosts := _hosts(app.conf.get(name)):
            settings[name] = hosts
    return settings


def _seconds(value: Any) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value if isinstance(value, int | float) else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):  # numbers alone: among the options of a transport there may be passwords
        return {str(key): item for key, item in value.items() if isinstance(item, int | float)}
    return value if isinstance(value, str | int | float) else repr(value)


def _broker(app: Any) -> str | None:
    """Scheme and hosts of the URL that the app fixes, `redis://10.0.0.1:6379`: any other part may hold a password."""
    try:
        return _hosts(app.conf["broker_url"])
    except KeyError:
        return None


def _hosts(urls: Any) -> str | None:
    parts = []
    for url in urls.split(";") if isinstance(urls, str) else map(str, urls or ()):
        scheme, separator, rest = url.partition("://")
        if separator:
            hosts = re.split(r"[/?#]", rest.rpartition("@")[2])[0]
            parts.append(f"{scheme}://{hosts}")
    return ";".join(parts) or None
