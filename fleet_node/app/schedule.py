"""Describes what beat is to send, and what is to send it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fleet_node.broker import kind_of
from fleet_node.protocol import EntryDescription, SchedulerDescription

OF_CELERY = (
    "celery.beat:PersistentScheduler",
    "celery.beat.PersistentScheduler",
    "celery.beat:Scheduler",
    "celery.beat.Scheduler",
)
"""Schedulers whose entries are those of beat_schedule."""


def entries(app: Any, destinations: Callable[[Any, dict[str, Any]], list[str]]) -> list[EntryDescription]:
    """The entries of beat_schedule, by name. destinations: the queues of a message with these options."""
    return [_entry(app, str(name), entry, destinations) for name, entry in sorted((app.conf.beat_schedule or {}).items())]


def _entry(app: Any, name: str, entry: Any, destinations: Callable[[Any, dict[str, Any]], list[str]]) -> EntryDescription:
    given = entry if isinstance(entry, dict) else dict(entry)  # a celery.beat.ScheduleEntry
    task_name = str(given.get("task"))
    task = app.tasks.get(task_name)
    description: EntryDescription = {"name": name, "task": task_name, "known": task is not None, "queues": []}
    options = {**(task._get_exec_options() if task else {}), **(given.get("options") or {})}
    try:
        routed = app.amqp.router.route(options, task_name, given.get("args") or (), given.get("kwargs") or {}, task)
        description["queues"] = destinations(app, routed)
    except Exception as error:  # a router is the app's own code
        description["route_error"] = f"{type(error).__name__}: {error}"
    return description


def scheduler(app: Any) -> SchedulerDescription:
    """The scheduler that beat uses, and why it does not import, if it does not."""
    from celery.utils.imports import load_extension_class_names, symbol_by_name

    name = str(os.environ.get("FLEET_BEAT_SCHEDULER") or app.conf.beat_scheduler)
    description: SchedulerDescription = {"name": name, "is_celerys": name in OF_CELERY, "error": ""}
    if "CELERY_BROKER_URL" in os.environ:
        description["has_lock"] = kind_of(app.connection_for_write()) == "redis"
    try:
        symbol_by_name(name, aliases=dict(load_extension_class_names("celery.beat_schedulers")))
    except Exception as error:  # code of others
        description["error"] = f"{type(error).__name__}: {error}"
    return description
