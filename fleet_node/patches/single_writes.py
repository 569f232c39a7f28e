"""A prefork worker hands a short task to its process in one write.

Celery writes the length of a task, and then the task. The process wakes up for each of the two, and the main process, which is
what limits short tasks, makes a call of the system more for each task. A pipe takes up to PIPE_BUF bytes at once or not at all.
"""

from __future__ import annotations

from select import PIPE_BUF
from typing import Any

from fleet_node.patches.versions import NEWER, Range, Versions

NAME = "single-writes"
AFFECTED = Versions(celery=Range("5", NEWER))
SUPPORTED = Versions(celery=Range("5.3", "5.7"))
POOLS: tuple[str, ...] = ("prefork",)
BROKERS: tuple[str, ...] = ()
REPLACES: tuple[str, ...] = ("celery.concurrency.asynpool.AsynPool._create_write_handlers",)
MENDS = "a prefork worker hands each task to its process in two writes, which costs a tenth of its throughput of short tasks"
ADVICE = "nothing is wrong without it"
TEST = "tests/unit/fleet_node/patches/test_patches.py::test_a_short_task_is_handed_to_its_process_in_one_write"
DELETE_WHEN = "all supported versions write a task at once"


def apply(worker: Any) -> None:
    """See Patch."""
    from celery.concurrency.asynpool import AsynPool

    original: Any = AsynPool._create_write_handlers

    def create_write_handlers(pool: Any, *args: Any, **kwargs: Any) -> None:
        original(pool, *args, **kwargs)
        send_job = pool._quick_put

        def send_at_once(task: Any) -> None:
            send_job(task)  # puts it into the buffer of what is to be written
            number, *_ = task[1]
            job = pool._cache[number]
            header, body, _ = job._payload
            if len(header) + len(body) <= PIPE_BUF:
                job._payload = memoryview(bytes(header) + bytes(body)), memoryview(b""), 0

        pool._quick_put = send_at_once

    AsynPool._create_write_handlers = create_write_handlers
