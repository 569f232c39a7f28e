"""Settings that a worker gets from the fleet, whatever its app sets: told in FLEET_CELERY."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

BY_TASK = {"task_acks_late": "acks_late", "task_reject_on_worker_lost": "reject_on_worker_lost"}
"""Settings that Celery copies to every task when it makes it, before anything of ours runs, and the attribute they are then."""


def apply(app: Any, told: str | None = None) -> None:
    """Put them into the app's configuration, options of transports each beside what the app itself sets there.

    To be called before the worker connects, in its main process: that is where messages are held, and given back. told: JSON,
    {"broker_transport_options": …, "result_backend_transport_options": …, "settings": value by name, "at_most_once": names of
    tasks that keep their own}; without it, FLEET_CELERY's.
    """
    wanted = json.loads(told if told is not None else os.environ.get("FLEET_CELERY", "{}"))
    for setting in ("broker_transport_options", "result_backend_transport_options"):
        if setting in wanted:
            app.conf[setting] = {**(app.conf.get(setting) or {}), **wanted[setting]}
    results = wanted.get("result_backend_transport_options", {})
    if "visibility_timeout" in results:  # the third place where its documentation wants it
        app.conf["visibility_timeout"] = results["visibility_timeout"]
    settings: dict[str, Any] = wanted.get("settings", {})
    for name, value in settings.items():
        app.conf[name] = value
    of_tasks = {attribute: settings[name] for name, attribute in BY_TASK.items() if name in settings}
    for name, task in app.tasks.items():
        if not is_named(name, wanted.get("at_most_once", ())):
            for attribute, value in of_tasks.items():
                setattr(task, attribute, value)  # and not its class: an app may have made several of one


def is_named(task: str, patterns: Iterable[str]) -> bool:
    """Whether one of `patterns` (names, or shell patterns of names) means it."""
    return any(fnmatchcase(task, pattern) for pattern in patterns)
