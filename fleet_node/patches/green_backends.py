"""A worker with green threads makes no result backend for every task.

Celery keeps a result backend for each thread, and a green pool has a new thread for each task. So each task makes a backend, with
a connection of its own if it has a result: three quarters of what a short task costs. A pool of native threads keeps its threads,
and their backends with them. With this patch a green worker does the same: a backend goes to the next task when its task has
ended, and no two have one at the same time.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from typing import Any

from fleet_node.patches.versions import NEWER, Range, Versions

NAME = "green-backends"
AFFECTED = Versions(celery=Range("5", NEWER))
SUPPORTED = Versions(celery=Range("5.3", "5.7"))
POOLS: tuple[str, ...] = ("gevent", "eventlet")
BROKERS: tuple[str, ...] = ()
REPLACES: tuple[str, ...] = ("celery.app.base.Celery._get_backend",)
MENDS = "each task of a gevent or eventlet worker makes a result backend, and a connection for its result"
ADVICE = "ignore results that nobody reads, or set result_backend_thread_safe if your tasks wait for no results"
TEST = "tests/unit/fleet_node/patches/test_patches.py::test_green_tasks_share_their_connections_for_results"
DELETE_WHEN = "all supported versions keep the backends of green threads"


def apply(worker: Any) -> None:
    """See Patch."""
    from celery.app.base import Celery

    from fleet_node.delivery.native import thread_id

    original: Any = Celery._get_backend
    current: Any = sys.modules["greenlet"].getcurrent  # both pools are made of greenlets
    main = thread_id()
    taken: weakref.WeakKeyDictionary[Any, deque[tuple[Any, Any]]] = weakref.WeakKeyDictionary()

    def get_backend(app: Any) -> Any:
        if thread_id() != main:  # its sockets belong to another loop
            return original(app)
        of_app = taken.setdefault(app, deque())
        for _ in range(len(of_app)):
            user, backend = of_app.popleft()
            if is_over(user()):
                break
            of_app.append((user, backend))
        else:
            backend = original(app)
        of_app.append((weakref.ref(current()), backend))
        return backend

    Celery._get_backend = get_backend


def is_over(user: Any) -> bool:
    """Whether a greenlet has ended; None stands for one that is forgotten."""
    return user is None or bool(user.dead)
