"""A worker counts its tasks: for operators, and so that a canary can be compared with its peers.

Celery tells nobody in the main process how a task of a prefork child ended, unless task events are on (30 to 45 % of the
throughput). The calls that it makes when a task begins and ends are wrapped (celery/worker/request.py).
"""

from __future__ import annotations

from collections import Counter
from time import time
from typing import Any

from fleet_node.counters import Counters, Series
from fleet_node.patches.versions import NEWER, Range, Versions
from fleet_node.protocol import PROBE_TASK
from fleet_node.sent import sent_at

NAME = "task-counts"
AFFECTED = Versions(celery=Range("5", NEWER))
SUPPORTED = Versions(celery=Range("5.3", "5.7"))
POOLS: tuple[str, ...] = ()
BROKERS: tuple[str, ...] = ()
REPLACES: tuple[str, ...] = (
    "celery.worker.request.Request.on_failure",
    "celery.worker.request.Request.reject",
    "celery.worker.strategy.create_request_cls",
)
MENDS = "a worker does not know how its tasks ended, so that nobody sees it, and a canary whose tasks all fail counts as well"
ADVICE = "watch the failures of a canary yourself, with a longer canary_settle"
TEST = "tests/unit/fleet_node/step/test_step.py::test_a_release_that_is_not_well_is_put_back"
DELETE_WHEN = "celery counts the ends of tasks in the main process, in all supported versions"

FAILED, POSTPONED = "failed", "postponed"
"""What a gate compares. POSTPONED: tasks that ask to run again later, or to be ignored."""


def apply(worker: Any) -> None:
    """See Patch. The counts are `worker.fleet_counters`, and `worker.fleet_failures` for gates."""
    from celery.signals import task_revoked
    from celery.worker import strategy
    from celery.worker.request import Request

    counters = worker.fleet_counters = Counters()
    failures: Counter[str] = Counter()
    worker.fleet_failures = failures
    on_failure, reject = Request.on_failure, Request.reject
    create = strategy.create_request_cls

    def revoked(sender: Any, request: Any, **_: Any) -> None:
        counters.of(sender.name, (request.delivery_info or {}).get("routing_key")).revoked += 1

    def failed(self: Any, exc_info: Any, *args: Any, **more: Any) -> Any:
        if self.name != PROBE_TASK:
            postponed = count_failure(counters.of(self.name, self.delivery_info["routing_key"]), exc_info.exception)
            failures[POSTPONED if postponed else FAILED] += 1
        return on_failure(self, exc_info, *args, **more)

    def rejected(self: Any, requeue: bool = False) -> Any:
        if not self.acknowledged:
            counters.of(self.name, self.delivery_info["routing_key"]).rejected += 1
        return reject(self, requeue)

    def create_request_cls(base: Any, task: Any, *args: Any, **more: Any) -> Any:
        made = create(base, task, *args, **more)
        return made if task.name == PROBE_TASK else counting(made, task.name, counters)

    Request.on_failure, Request.reject = failed, rejected
    strategy.create_request_cls = create_request_cls
    task_revoked.connect(revoked, weak=False)


def counting(base: Any, name: str, counters: Counters) -> Any:
    """A class of requests of one task that count beginnings and successes. It costs some microseconds of the main process."""
    begin, succeed = base.on_accepted, base.on_success
    by_queue: dict[Any, Series] = {}

    def series_of(queue: Any) -> Series:
        series = by_queue[queue] = counters.of(name, queue)
        return series

    class Counted(base):  # type: ignore[misc]
        def on_accepted(self, pid: int, time_accepted: float) -> Any:
            queue = self._delivery_info["routing_key"]
            series = by_queue.get(queue) or series_of(queue)
            series.started += 1
            sent = sent_at(self)
            if sent is not None:
                series.wait.observe(max(0.0, time() - sent))
            return begin(self, pid, time_accepted)

        def on_success(self, outcome: Any, **more: Any) -> Any:
            if not outcome[0]:
                queue = self._delivery_info["routing_key"]
                series = by_queue.get(queue) or series_of(queue)
                series.succeeded += 1
                series.runtime.observe(outcome[2])
            return succeed(self, outcome, **more)

    return Counted


def count_failure(series: Any, raised: BaseException) -> bool:
    """Count how a task ended that did not succeed. Returns whether it only asks to run later, or to be ignored: a task that is
    tried again because of an exception has failed, one that asks for a retry without an exception has not."""
    from celery.exceptions import Ignore, Reject, Retry

    # An exception is wrapped, unless it comes from another process; and a Retry has an `exc` of its own.
    error = raised if isinstance(raised, Retry) else getattr(raised, "exc", raised)
    if isinstance(error, Retry):
        series.retried += 1
        return not error.exc
    if isinstance(error, (Ignore, Reject)):  # a rejected one is counted as it is rejected
        return True
    name = str(getattr(error, "exc_cls_name", "") or type(error).__name__)
    if name != "Terminated":  # billiard's: it is revoked, and counted as such
        series.fail(name)
    return False
