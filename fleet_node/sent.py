"""When a task was sent: by its producer's stamp, which Celery does not give a message, or else by what the worker knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fleet_node.protocol import SENT_AT, SENT_BEFORE

HEADERS = (SENT_AT, "sentry-task-enqueued-time", "kanari_sent_ts", "doorman_sent_ts", "timestamp")
"""Headers with seconds (or milliseconds) since 1970: ours, Sentry's, and others'."""
PROPERTIES = ("published_at", "timestamp")
"""Properties with the same: Judoscale's, and AMQP's."""

_MILLISECONDS = 1e11
"""Seconds since 1970 are below it for three thousand years; milliseconds have been above it since 1973."""


def sent_at(request: Any) -> float | None:
    """Seconds since 1970 at which a request of Celery's could begin at the earliest: when it was sent, or its ETA. None if
    that is not known."""
    headers, eta = request._request_dict, request._eta
    properties: Mapping[str, Any] = request._message.properties or {}
    sent = None if headers.get("retries") else _stamp(headers, HEADERS)  # a retry has the stamp of the first time
    if sent is None:
        sent = _stamp(properties, PROPERTIES)
    if sent is None:
        sent = properties.get(SENT_BEFORE)
    return sent if sent is None or eta is None else max(sent, float(eta.timestamp()))


def _stamp(values: Mapping[str, Any], names: Iterable[str]) -> float | None:
    """The first of these names that has a time. This is asked of each task."""
    for name in names:
        if name in values and (time := seconds(values[name])) is not None:
            return time
    return None


def seconds(value: Any) -> float | None:
    """Seconds since 1970 of a number in seconds or milliseconds, which may be text. None if it is neither."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not number > 0 or number == float("inf"):
        return None
    return number / 1000 if number > _MILLISECONDS else number
