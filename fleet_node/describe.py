"""What an app says of itself: its tasks, where each is routed, and the settings that it fixes. Plain values, for JSON."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import celery
import kombu

SETTINGS = (
    "broker_connection_max_retries",
    "broker_connection_retry_on_startup",
    "broker_transport_options",
    "result_backend_transport_options",
    "task_always_eager",
    "task_create_missing_queues",
    "visibility_timeout",
    "worker_concurrency",
    "worker_disable_prefetch",
    "worker_max_memory_per_child",
    "worker_max_tasks_per_child",
    "worker_pool",
    "worker_prefetch_multiplier",
    "worker_send_task_events",
)
"""Of these the value is told where it is not Celery's own."""


def describe(app: Any) -> dict[str, Any]:
    """The app, loaded and finalized, as {"celery", "kombu", "tasks", "queues", "settings", "broker"}.

    A task has "name", "queue", "time_limit", "soft_time_limit", "acks_late", "reject_on_worker_lost", "retry_delay"; its queue is
    what the app's own router answers, None where that fails (with the reason as "route_error"). broker: the URL that the app
    fixes, without user and password. Of options (a dict) only numbers are told.
    """
    return {
        "celery": celery.__version__,
        "kombu": kombu.__version__,
        "tasks": [_task(app, name) for name in sorted(app.tasks) if not name.startswith(("celery.", "fleet."))],
        "queues": sorted(queue.name for queue in app.conf.task_queues or ()),
        "settings": _settings(app),
        "broker": _broker(app),
    }


def _task(app: Any, name: str) -> dict[str, Any]:
    task = app.tasks[name]
    found: dict[str, Any] = {
        "name": name,
        "queue": None,
        # Of its own, or from task_time_limit (Celery 5.7): it travels in the message, and goes before the worker's flag.
        "time_limit": _seconds(task.time_limit),
        "soft_time_limit": _seconds(task.soft_time_limit),
        "acks_late": bool(task.acks_late),
        "reject_on_worker_lost": bool(task.reject_on_worker_lost),
        "retry_delay": _seconds(task.default_retry_delay),
    }
    try:
        # As apply_async does: what the task itself says of its queue goes before the routes.
        options = app.amqp.router.route({**task._get_exec_options()}, name, (), {}, task)
        queue = options.get("queue") or app.conf.task_default_queue
        found["queue"] = getattr(queue, "name", queue)
    except Exception as error:  # a router is the app's own code
        found["route_error"] = f"{type(error).__name__}: {error}"
    return found


def _settings(app: Any) -> dict[str, Any]:
    from celery.app.defaults import DEFAULTS

    found = {}
    for name in SETTINGS:
        value = app.conf.get(name, None)
        if value not in (None, DEFAULTS.get(name)):
            found[name] = _plain(value)
    return found


def _seconds(value: Any) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value if isinstance(value, int | float) else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):  # numbers alone: among the options of a transport there may be passwords
        return {str(key): item for key, item in value.items() if isinstance(item, int | float)}
    return value if isinstance(value, str | int | float) else repr(value)


def _broker(app: Any) -> str | None:
    """Scheme and hosts of the URL that the app fixes, `redis://10.0.0.1:6379`."""
    try:
        url = app.conf["broker_url"]
    except KeyError:
        return None
    urls = url.split(";") if isinstance(url, str) else [str(one) for one in url or ()]
    shown = []
    for one in urls:
        scheme, separator, rest = one.partition("://")
        shown.append(f"{scheme}{separator}{rest.rpartition('@')[2].partition('/')[0]}" if separator else scheme)
    return ";".join(shown) or None
