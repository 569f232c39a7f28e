"""What a worker says when it starts of whatever weakens the fleet's promises: `fleet lint` says the same before a deploy."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from fleet_node import patches
from fleet_node.app.describe import versions
from fleet_node.app.tried import untried
from fleet_node.patches import delivery
from fleet_node.protocol import CelerySettings

_log = logging.getLogger("celery.worker.fleet")


def say(app: Any, fleet: CelerySettings) -> None:
    """Log it. To be called before the fleet's settings replace the app's own, for its consumers elsewhere have those alone."""
    installed = versions()
    if words := of_versions(installed):
        _log.critical(words)
    lease = fleet.get("lease")
    if lease is not None and has_lease(installed):
        for words in of_timeouts(timeouts(app, fleet), lease):
            _log.critical(words)


def has_lease(installed: Mapping[str, str]) -> bool:
    """Whether a worker can have a lease with these versions. installed: by package."""
    entries = patches.applicable(installed["celery"], installed["kombu"])
    return any(entry.mended for entry in entries if entry.patch is delivery)


def of_versions(installed: Mapping[str, str]) -> str:
    """What is to be said of these versions; empty if each was tried. installed: by package."""
    lines = untried(installed)
    lease = "" if has_lease(installed) else ", and without a lease"
    return f"{'; '.join(lines)}: this worker runs it as it is{lease}; pin one that was tried" if lines else ""


def timeouts(app: Any, fleet: CelerySettings) -> Iterator[tuple[str, object]]:
    """The visibility timeouts that consumers of the broker are set to, with the place of each: this app, others in the process
    with the same broker, and the fleet."""
    from celery._state import _get_active_apps

    yield _timeout(app)
    for other in _get_active_apps():
        if other is not app and (other.configured or other._preconf):  # it has settings of its own
            with suppress(Exception):  # the configuration of another app may not load
                if other.conf.broker_read_url == app.conf.broker_read_url:
                    yield _timeout(other)
    yield "the fleet's visibility_timeout", fleet.get("broker_transport_options", {}).get("visibility_timeout")


def _timeout(app: Any) -> tuple[str, object]:
    options = app.conf.get("broker_transport_options") or {}
    return f"broker_transport_options of the app {app.main or 'default'}", options.get("visibility_timeout")


def of_timeouts(found: Iterable[tuple[str, object]], lease: float) -> Iterator[str]:
    """What is to be said of visibility timeouts that are shorter than the lease."""
    for place, timeout in found:
        if isinstance(timeout, int | float) and timeout < lease:
            yield (
                f"{place}: a visibility timeout of {timeout:g} s is shorter than the lease of {lease:g} s, so that consumers "
                "without a lease take tasks that the fleet's workers run; leave it out, for Celery's own 3600"
            )
