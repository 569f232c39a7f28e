"""A task's result is stored again if the connection to Redis fails.

The fleet sets `result_backend_always_retry`. Without it, a task that succeeded is a failure if a cut of the network has ended the
connection of its process, and nobody has told the process. Celery before 5.5 does not know which errors of Redis it may retry.
"""

from __future__ import annotations

from typing import Any

from fleet_node.patches.versions import Range, Versions

NAME = "retried-results"
AFFECTED = Versions(celery=Range("5", "5.4"))
SUPPORTED = Versions(celery=Range("5.3", "5.4"))
POOLS: tuple[str, ...] = ()
BROKERS: tuple[str, ...] = ()
REPLACES: tuple[str, ...] = ("celery.backends.redis.RedisBackend.exception_safe_to_retry",)
MENDS = "the first task after a cut network is a failure, although it succeeded, if its result is stored in Redis"
ADVICE = "use celery 5.5 or newer"
TEST = "tests/matrix/test_results.py::test_a_connection_that_was_forgotten_on_its_way_is_made_anew"
DELETE_WHEN = "celery 5.4 is not supported any more"


def apply(worker: Any) -> None:
    """See Patch."""
    from celery.backends.redis import RedisBackend

    def exception_safe_to_retry(backend: Any, error: Exception) -> bool:
        return isinstance(error, backend.connection_errors)

    RedisBackend.exception_safe_to_retry = exception_safe_to_retry
