"""`import fleet_node.stamp` where tasks are sent: each says in a header when. For producers; standard library and celery alone.

It is optional: without it, how long the oldest task waits is known to about a second.
"""

from __future__ import annotations

import time
from typing import Any

from celery.signals import before_task_publish

from fleet_node.protocol import SENT_AT


@before_task_publish.connect(weak=False)  # type: ignore[untyped-decorator]  # celery has no types
def _stamp(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers[SENT_AT] = time.time()
