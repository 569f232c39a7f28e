"""What an app says of itself: its tasks, where each is routed, and the settings that it fixes. Plain values, for JSON."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import celery
import kombu

SETTINGS = (
    "broker_transport_options",
    "result_backend_transport_options",
    "task_always_eager",
    "task_create_missing_queues",
    "visibility_timeout",
    "worker_concurrency",
    "worker_enable_remote_control",
    "worker_max_tasks_per_child",
    "worker_pool",
    "worker_prefetch_multiplier",
    "worker_send_task_events",
)
"""Of these the value is told where it is not Celery's own."""


def describe(app: Any) -> dict[str, Any]:
    """The app, loaded and finalized, as {"celery", "kombu", "tasks", "queues", "default_queue", "settings", "broker"}.

    A task has "name", "queues", "time_limit", "soft_time_limit", "acks_late", "reject_on_worker_lost", "retry_delay"; its queues
    are where the app's own router sends it, none where that fails (with the reason as "route_error"). broker: the URL that the
    app fixes, without user and password. Of options (a dict) only numbers are told.
    """
    return {
        "celery": celery.__version__,
        "kombu": kombu.__version__,
        "tasks": [_task(app, name) for name in sorted(app.tasks) if not name.startswith(("celery.", "fleet."))],
        "queues": sorted(_declared(app)),
        "default_queue": app.conf.task_default_queue,
        "settings": _settings(app),
        "broker": _broker(app),
    }


def _task(app: Any, name: str) -> dict[str, Any]:
    task = app.tasks[name]
    found: dict[str, Any] = {
        "name": name,
        "queues": [],
        # Of its own, or from task_time_limit (Celery 5.7): it travels in the message, and goes before the worker's flag.
        "time_limit": _seconds(task.time_limit),
        "soft_time_limit": _seconds(task.soft_time_limit),
        "acks_late": bool(task.acks_late),
        "reject_on_worker_lost": bool(task.reject_on_worker_lost),
        "retry_delay": _longest_retry_delay(task),
    }
    try:
        # As apply_async does: what the task itself says of its queue goes before the routes.
        options = app.amqp.router.route({**task._get_exec_options()}, name, (), {}, task)
        found["queues"] = _destinations(app, options)
    except Exception as error:  # a router is the app's own code
        found["route_error"] = f"{type(error).__name__}: {error}"
    return found


def _longest_retry_delay(task: Any) -> float | None:
    """Seconds before the last retry: the default delay, or what retry_backoff has grown to by then."""
    delay = _seconds(task.default_retry_delay)
    factor = _seconds(getattr(task, "retry_backoff", None))  # True is 1 second
    if not factor or not getattr(task, "autoretry_for", None):
        return delay
    retries = task.max_retries if isinstance(task.max_retries, int) else 60
    most = _seconds(getattr(task, "retry_backoff_max", None)) or 600  # Celery's own
    last: float = min(most, float(factor) * 2 ** min(retries, 60))
    return max(delay or 0, last)


def _declared(app: Any) -> list[str]:
    """Names in task_queues, which may be a dict, or hold kombu's Queues or plain names."""
    return [getattr(queue, "name", queue) for queue in app.conf.task_queues or ()]


def _destinations(app: Any, options: dict[str, Any]) -> list[str]:
    """The queues that a message with these options lands in: the one named, or those bound to its exchange by its routing key."""
    queue = options.get("queue")
    if queue:
        return [getattr(queue, "name", queue)]
    exchange = options.get("exchange") or app.conf.task_default_exchange or app.conf.task_default_queue
    name = getattr(exchange, "name", exchange)
    key = options.get("routing_key") or app.conf.task_default_routing_key or app.conf.task_default_queue
    bound = [one for one in app.amqp.queues.values() if one.exchange is not None and one.exchange.name == name]
    return [one.name for one in bound if _is_bound(one.exchange.type, one.routing_key or "", key)]


def _is_bound(kind: str, binding: str, key: str) -> bool:
    if kind == "topic":
        words = {"*": r"[^.]+", "#": r".*"}
        pattern = r"\.".join(words.get(word, re.escape(word)) for word in binding.split("."))
        return re.fullmatch(pattern.replace(r"\..*", r"(\..*)?"), key) is not None
    return kind == "fanout" or binding == key


def _settings(app: Any) -> dict[str, Any]:
    from celery.app.defaults import DEFAULTS

    found = {}
    for name in SETTINGS:
        value = app.conf.get(name, None)
        if value not in (None, DEFAULTS.get(name)):
            found[name] = _plain(value)
    for name in ("broker_read_url", "broker_write_url"):
        if shown := _shown(app.conf.get(name)):
            found[name] = shown
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
    """Scheme and hosts of the URL that the app fixes, `redis://10.0.0.1:6379`: in any other part there may be a password."""
    try:
        return _shown(app.conf["broker_url"])
    except KeyError:
        return None


def _shown(url: Any) -> str | None:
    shown = []
    for one in url.split(";") if isinstance(url, str) else map(str, url or ()):
        scheme, separator, rest = one.partition("://")
        if separator:
            hosts = re.split(r"[/?#]", rest.rpartition("@")[2])[0]
            shown.append(f"{scheme}://{hosts}")
    return ";".join(shown) or None
