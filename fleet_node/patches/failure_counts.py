"""A worker counts the tasks that failed, so that a canary can be compared with its peers.

Celery tells nobody in the main process how a task of a prefork child ended, unless task events are on (30 to 45 % of the
throughput). The calls that it makes when a task failed are wrapped (celery/worker/request.py).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from fleet_node.patches.versions import NEWER, Range, Versions
from fleet_node.protocol import PROBE_TASK

NAME = "failure-counts"
AFFECTED = Versions(celery=Range("5", NEWER))
SUPPORTED = Versions(celery=Range("5.3", "5.7"))
POOLS: tuple[str, ...] = ()
REPLACES: tuple[str, ...] = ("celery.worker.request.Request.on_failure", "celery.worker.request.Request.on_timeout")
MENDS = "a worker does not know how many of its tasks failed, so that a canary whose tasks all fail counts as well"
ADVICE = "watch the failures of a canary yourself, with a longer canary_settle"
TEST = "tests/unit/fleet_node/step/test_step.py::test_a_release_that_is_not_well_is_put_back"
DELETE_WHEN = "celery counts failed tasks in the main process, in all supported versions"

FAILED, POSTPONED = "failed", "postponed"
"""What is counted. POSTPONED: tasks that ask to run again later, or to be ignored."""


def apply(worker: Any) -> None:
    """See Patch. The counts are `worker.fleet_failures`."""
    from celery.exceptions import Ignore, Reject, Retry
    from celery.worker.request import Request

    counts: Counter[str] = Counter()
    on_failure, on_timeout = Request.on_failure, Request.on_timeout

    def failed(self: Any, exc_info: Any, *args: Any, **more: Any) -> Any:
        raised = exc_info.exception  # wrapped, unless it comes from another process; and a Retry has an `exc` of its own
        error = raised if isinstance(raised, Retry) else getattr(raised, "exc", raised)
        if self.name != PROBE_TASK:
            # A task that is tried again because of an exception has failed; a task that asks for a retry without one has not.
            postponed = isinstance(error, (Ignore, Reject)) or (isinstance(error, Retry) and not error.exc)
            counts[POSTPONED if postponed else FAILED] += 1
        return on_failure(self, exc_info, *args, **more)

    def timed_out(self: Any, soft: bool, timeout: float) -> Any:
        if not soft and self.name != PROBE_TASK:
            counts[FAILED] += 1
        return on_timeout(self, soft, timeout)

    Request.on_failure, Request.on_timeout = failed, timed_out
    worker.fleet_failures = counts
