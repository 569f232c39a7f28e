"""A prefork worker knows what its processes run after it has connected to its broker again.

celery up to 5.5 clears the pool's cache of jobs on a reconnect (celery/concurrency/asynpool.py, AsynPool.flush), with the jobs
that run. Their ends are then nobody's: they are not acknowledged, they count as running for ever, and a drain waits for them in
vain. 5.6 keeps the jobs that a process has begun.
"""

from __future__ import annotations

from typing import Any

from fleet_node.patches.versions import Range, Versions

NAME = "running-jobs"
AFFECTED = Versions(celery=Range("5.0", "5.5"))
SUPPORTED = Versions(celery=Range("5.3", "5.5"))
POOLS: tuple[str, ...] = ("prefork",)
BROKERS: tuple[str, ...] = ()
REPLACES: tuple[str, ...] = ("celery.concurrency.asynpool.AsynPool.flush",)
MENDS = "a prefork worker forgets what it runs when it loses its broker: that runs again, and a drain never sees the worker idle"
ADVICE = "use Celery 5.6 or later"
TEST = "tests/matrix/test_drain.py::test_it_is_idle_though_the_broker_restarted_while_it_was_at_work"
DELETE_WHEN = "celery 5.5 is not supported any more"


def apply(worker: Any) -> None:
    """See Patch."""
    from celery.concurrency.asynpool import AsynPool

    original: Any = AsynPool.flush

    def flush(self: Any) -> None:
        running = {number: job for number, job in self._cache.items() if job._accepted}
        original(self)
        self._cache.update({number: job for number, job in running.items() if not job.ready()})

    AsynPool.flush = flush
