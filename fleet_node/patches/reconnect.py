"""How soon a worker that has lost its broker is back: kombu waits 2 s longer each time, up to 30; so long an outage is not."""

from __future__ import annotations

from typing import Any

from kombu import Connection  # type: ignore[attr-defined]  # kombu's types are unfinished

LONGEST_WAIT = 3
"""Seconds between two attempts. An attempt costs the broker one connection."""


def soon() -> None:
    """Have every connection of this process tried again at least that often: celery's consumer gives no interval."""
    original: Any = Connection.ensure_connection

    def ensure_connection(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) < 5:
            kwargs.setdefault("interval_max", LONGEST_WAIT)
        return original(self, *args, **kwargs)

    Connection.ensure_connection = ensure_connection  # type: ignore[method-assign]
