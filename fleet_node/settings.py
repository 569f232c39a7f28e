"""Settings that a worker gets from the fleet, whatever its app sets: options of its transports, told in FLEET_CELERY."""

from __future__ import annotations

import json
import os
from typing import Any


def apply(app: Any, told: str | None = None) -> None:
    """Put the options into the app's configuration, each beside what the app itself sets there.

    To be called before the worker connects, in its main process: that is where messages are held, and given back. told: JSON, a
    dict of options by setting; without it, FLEET_CELERY's.
    """
    wanted = json.loads(told if told is not None else os.environ.get("FLEET_CELERY", "{}"))
    for setting, options in wanted.items():
        app.conf[setting] = {**(app.conf.get(setting) or {}), **options}
    results = wanted.get("result_backend_transport_options", {})
    if "visibility_timeout" in results:  # the third place where its documentation wants it
        app.conf["visibility_timeout"] = results["visibility_timeout"]
