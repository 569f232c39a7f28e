"""Whether Redis does what it is asked."""

from __future__ import annotations

import logging

from fleet_node.delivery.holdings import uptime

REFUSED = 1.0
"""Seconds until Redis is asked again for what it has refused."""

_log = logging.getLogger("celery.worker.fleet")


class Refusals:
    """Of one worker's broker. Says once that it refuses commands, and once that it does not any more."""

    def __init__(self) -> None:
        self._refusal, self._ask_again_at = "", 0.0

    def refused(self, error: Exception) -> None:
        """Redis answers, and does not do what it is asked: it is full, or read-only, or its disk is full."""
        if not self._refusal:
            _log.critical("Redis refuses commands, and is asked again every second: %s", error)
        self._refusal, self._ask_again_at = str(error), uptime() + REFUSED

    def accepted(self) -> None:
        """Redis does what it is asked."""
        if self._refusal:
            _log.warning("Redis accepts commands again")
        self._refusal = ""

    @property
    def is_refused(self) -> bool:
        """Whether Redis is not to be asked yet."""
        return bool(self._refusal) and uptime() < self._ask_again_at
