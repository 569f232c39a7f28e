"""Celery settings that a worker gets from the fleet, whatever its app sets: FLEET_CELERY in its environment."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from fleet_node import broker
from fleet_node.broker import quorum
from fleet_node.protocol import CelerySettings

_log = logging.getLogger("celery.worker.fleet")

BY_TASK = {"task_acks_late": "acks_late", "task_reject_on_worker_lost": "reject_on_worker_lost"}
"""Settings that Celery copies to every task when it makes it, before anything of ours runs, and the attribute they are then."""


def of_environment() -> CelerySettings:
    """The settings in FLEET_CELERY; empty without it."""
    settings: CelerySettings = json.loads(os.environ.get("FLEET_CELERY", "{}"))
    return settings


def apply(app: Any, fleet: CelerySettings) -> None:
    """Put the fleet's settings into the app's configuration. Options of transports are merged with those that the app sets.

    To be called before the worker connects, in its main process: there messages are held, and given back.
    """
    options, results = fleet.get("broker_transport_options"), fleet.get("result_backend_transport_options")
    for setting, given in (("broker_transport_options", options), ("result_backend_transport_options", results)):
        if given is not None:
            app.conf[setting] = {**(app.conf.get(setting) or {}), **given}
    if results and "visibility_timeout" in results:  # the third place where Celery's documentation has it
        app.conf["visibility_timeout"] = results["visibility_timeout"]
    settings = fleet.get("settings", {})
    for name, value in settings.items():
        app.conf[name] = value
    if broker.kind_of(app.connection_for_write()) == "amqp":
        # Celery before 5.7 fetches less after a reconnect, and quorum queues never let it fetch more again. A worker with threads
        # asks for it in one of these, and waits for ever for the answer, which its main loop has read.
        app.conf.worker_enable_prefetch_count_reduction = False
        if settings.get("task_default_queue_type") == "quorum":
            for words in quorum.declare(app):
                _log.critical(words)
    attributes = {attribute: settings[name] for name, attribute in BY_TASK.items() if name in settings}
    for name, task in app.tasks.items():
        if not is_named(name, fleet.get("at_most_once", ())):
            for attribute, value in attributes.items():
                setattr(task, attribute, value)  # and not its class: an app may have made several of one


def is_named(task: str, patterns: Iterable[str]) -> bool:
    """Whether a task is meant by one of `patterns`: names, or shell patterns of names."""
    return any(fnmatchcase(task, pattern) for pattern in patterns)
