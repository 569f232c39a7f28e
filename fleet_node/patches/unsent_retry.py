"""A task whose retry cannot be sent is not lost.

celery's Task.retry sends the next attempt as a message of its own. If the broker refuses that (it is full, or read-only for a
while), Task.retry raises Reject, and the worker acknowledges the message of this attempt: the task is gone. With this patch the
message goes back to its queue, and the attempt runs again.
"""

from __future__ import annotations

import time
from typing import Any

from fleet_node.patches.versions import NEWER, Range, Versions

NAME = "unsent-retry"
AFFECTED = Versions(celery=Range("5", NEWER))
SUPPORTED = Versions(celery=Range("5.3", "5.7"))
POOLS: tuple[str, ...] = ()
BROKERS: tuple[str, ...] = ()
REPLACES: tuple[str, ...] = ("celery.app.task.Task.retry",)
MENDS = "a task that retries while the broker refuses messages (full, read-only) is lost"
ADVICE = "keep the broker from being full"
TEST = "tests/unit/fleet_node/patches/test_patches.py::test_a_task_whose_retry_cannot_be_sent_is_not_lost"
DELETE_WHEN = "Task.retry keeps the message if it cannot send, in all supported versions"

PAUSE = 1.0
"""Seconds before the message goes back: a broker that refuses one retry refuses the next."""


def apply(worker: Any) -> None:
    """See Patch."""
    from celery.app.task import Task
    from celery.exceptions import Reject

    original: Any = Task.retry

    def retry(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, *args, **kwargs)
        except Reject as unsent:
            time.sleep(PAUSE)
            raise Reject(unsent.reason, requeue=True) from unsent

    Task.retry = retry
