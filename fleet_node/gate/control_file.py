"""A ControlFile: how the workers of an app are reached, for processes that do not import the app."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fleet_node.protocol import ControlFile

SETTINGS = (
    "accept_content",
    "broker_transport_options",
    "broker_use_ssl",
    "control_exchange",
    "result_accept_content",
    "result_backend_transport_options",
    "result_serializer",
    "task_serializer",
)
"""Settings that say how an app's workers are reached, and how they answer."""
OPTIONS = ("broker_transport_options", "result_backend_transport_options")
PLACES = ("global_keyprefix", "fanout_prefix", "fanout_patterns", "sep", "priority_steps", "master_name")
"""Options of a transport that say where messages are. Others may hold a password."""
TLS = ("ca_certs", "certfile", "keyfile", "cert_reqs", "check_hostname", "server_hostname")
"""Options of TLS, of RabbitMQ; those of Redis have `ssl_` before their names. Files are named, and not read."""


def of(app: Any) -> dict[str, Any]:
    """The ControlFile of an app. Values may still be sets: json.dumps needs `default=list`."""
    settings = {name: app.conf.get(name) for name in SETTINGS}
    settings["control_serializer"] = app.control.mailbox.serializer
    for name in OPTIONS:
        options = settings[name] or {}
        settings[name] = {option: options[option] for option in PLACES if option in options}
    if isinstance(options := settings["broker_use_ssl"], dict):
        settings["broker_use_ssl"] = {name: options[name] for name in options if name.removeprefix("ssl_") in TLS}
    return settings


def read(path: Path) -> ControlFile:
    """The ControlFile at `path`; empty if there is none."""
    try:
        control: ControlFile = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return control


def combined(control: ControlFile) -> ControlFile:
    """What a worker has left, with what the fleet sets (FLEET_CELERY), which goes first, as in a worker. Before the first worker
    of a broker has left a file, that is all that is known."""
    fleet = json.loads(os.environ.get("FLEET_CELERY", "{}"))
    settings: Any = dict(control)
    for name in OPTIONS:
        given = fleet.get(name) or {}
        settings[name] = {**(settings.get(name) or {}), **{option: given[option] for option in PLACES if option in given}}
    settings["broker_use_ssl"] = settings.get("broker_use_ssl") or fleet.get("settings", {}).get("broker_use_ssl")
    combined: ControlFile = settings
    return combined
