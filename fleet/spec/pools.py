"""Celery's worker pools, the workloads that choose among them, and the settings that each of them picks."""

from __future__ import annotations

from typing import Any, Literal

Pool = Literal["prefork", "gevent", "eventlet", "threads", "solo"]
Workload = Literal["io", "cpu", "gpu"]

GREEN = ("gevent", "eventlet")
"""Pools of green threads. Each needs a package of its name (requirements/<pool>.txt)."""

PER_CORE = (*GREEN, "threads", "solo")
"""Pools that run all tasks in one process. That process limits the rate of short tasks, so automatic `instances` is one a
core."""

WORKLOADS: dict[str, dict[str, Any]] = {
    "io": {"pool": "gevent", "prefetch": 1},
    "cpu": {"pool": "prefork", "prefetch": "disabled"},
    "gpu": {"pool": "prefork", "prefetch": "disabled", "start_method": "spawn", "min_consumers": 0},
}
"""Workload → the defaults that it picks. A role can set each of them itself."""

POOLS: dict[str, dict[str, Any]] = {
    "prefork": {"max_tasks_per_child": 1000},
    "gevent": {},
    "eventlet": {},
    "threads": {},
    "solo": {},
}
"""Pool → the defaults that it picks."""
