"""When a worker may take messages, and when a task may begin: while it is sure that others have not been given what it holds."""

from __future__ import annotations

import time
from typing import Any

from fleet_node.delivery.holdings import Holdings
from fleet_node.delivery.requests import Requests

UNSURE = 10.0
"""Seconds for which a task does not begin if it is not known whether the worker still has its lease."""
MOMENT = 0.05
"""Seconds between two looks whether that is known."""


class Admission:
    """Of one worker."""

    def __init__(self, holdings: Holdings, requests: Requests) -> None:
        self._holdings, self._requests = holdings, requests
        self._unsure_since: float | None = None

    def may_take(self) -> bool:
        """Whether the worker is sure of its lease. Raises ConnectionError if others have been given what it held: Celery then
        forgets what has not begun, and connects again."""
        if self._holdings.swept:
            raise ConnectionError("the lease has ended: others have been given what this worker held")
        return self._holdings.is_renewed()

    def may_begin(self, request: Any) -> bool:
        """Whether a task may begin that a pool of threads has, or the loop of solo. False if others have been given its message.

        If the lease may have ended, the thread waits until that is known.
        """
        deadline = time.monotonic() + UNSURE
        while not self._holdings.swept and not self._holdings.is_renewed() and time.monotonic() < deadline:
            time.sleep(MOMENT)
        tag = request._message.delivery_tag
        if self._holdings.swept and tag in self._holdings.held:
            self._requests.dropped.add(request)
            self._holdings.held.pop(tag, None)
        return request not in self._requests.dropped

    def may_hand_out(self) -> bool:
        """Whether a process may be given a task that the main loop has. If the lease may have ended, the loop waits for a moment,
        and comes again."""
        if self._holdings.is_renewed() and not self._holdings.swept:
            self._unsure_since = None
            return True
        now = time.monotonic()
        self._unsure_since = now if self._unsure_since is None else self._unsure_since
        if not self._holdings.swept and now - self._unsure_since > UNSURE:
            return True
        time.sleep(MOMENT)
        return False
