"""Two hours of a fleet's metrics as its exporter has them, for a real Prometheus: names, labels and shapes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

from fleet_node.protocol import RUNTIME_BUCKETS, WAIT_BUCKETS

HOURS, STEP = 2, 15
Value = Callable[[float], float | None]
"""Minutes from the start → the value then, if there is one."""


def write(folder: Path, end: float) -> None:
    """Make `folder`/data, in which a Prometheus finds the metrics of the hours before `end`, in seconds since 1970."""
    lines: list[str] = []
    for series, value in fleet():
        for second in range(0, HOURS * 3600, STEP):
            if (sample := value(second / 60)) is not None:
                lines.append(f"{series} {sample} {end - HOURS * 3600 + second:.0f}")
    (folder / "samples").write_text("\n".join([*lines, "# EOF\n"]))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "samples"), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def fleet() -> Iterator[tuple[str, Value]]:
    """(series, its values) of a fleet of two web workers, one of them on a new release for a minute, and a GPU worker."""
    for name, own, value in _series():
        labels = {"job": "celery-fleet", "instance": "127.0.0.1:9808", **own}
        written = ",".join(f'{label}="{text}"' for label, text in labels.items())
        yield f"{name}{{{written}}}", value


OF_RABBITMQ = ("fleet_broker_nodes", "fleet_broker_nodes_up", "fleet_broker_nodes_alarmed")
"""Metrics that a fleet on Redis does not have."""


def _series() -> Iterator[tuple[str, dict[str, str], Value]]:
    yield "up", {}, _always(1)
    for severity in ("warning", "page"):
        yield "ALERTS", {"alertname": "QueueTooOld", "alertstate": "firing", "severity": severity, "queue": "default"}, _always(1)
    yield from _tasks()
    yield from _queues()
    yield from _workers()
    broker = {"up": 1, "memory_bytes": 2e8, "memory_max_bytes": 1e9, "clients": 40, "clients_max": 10000, "persistence_ok": 1}
    for name, number in broker.items():
        yield f"fleet_broker_{name}", {}, _always(number)
    yield "fleet_broker_commands_total", {}, _counting(600)
    yield "fleet_dead_letters", {}, _always(2)
    for source in ("broker", "signs", "ages"):
        yield "fleet_source_age_seconds", {"source": source}, _always(3)
    for name, number in {"scrape_seconds": 0.02, "commands": 12, "series_folded": 0}.items():
        yield f"fleet_exporter_{name}", {}, _always(number)


def _tasks() -> Iterator[tuple[str, dict[str, str], Value]]:
    for host in ("web1", "web2", "gpu1"):
        yield "celery_worker_up", {"hostname": host}, _always(1)
        yield "celery_worker_tasks_active", {"hostname": host}, _always(3)
    for queue in ("default", "gpu"):
        for name in ("queue_length", "active_consumer_count", "active_worker_count", "active_process_count"):
            yield f"celery_{name}", {"queue_name": queue}, _always(4)
    for task, (host, queue) in product(("shop.mail", "shop.pay"), (("web1", "default"), ("web2", "default"), ("gpu1", "gpu"))):
        labels = {"name": task, "hostname": host, "queue_name": queue}
        for number, state in enumerate(("received", "started", "sent", "succeeded", "rejected", "revoked", "retried"), 1):
            yield f"celery_task_{state}_total", labels, _counting(60 / number)
        for exception, rate in (("", 0), ("TimeoutError", 2)):
            yield "celery_task_failed_total", labels | {"exception": exception}, _counting(rate)
        yield from _histogram("celery_task_runtime", labels, RUNTIME_BUCKETS)
        yield from _histogram("celery_task_queue_wait_time", labels, WAIT_BUCKETS)


def _queues() -> Iterator[tuple[str, dict[str, str], Value]]:
    for queue in ("default", "gpu"):
        labels = {"queue": queue}
        for priority in ("0", "3"):
            yield "fleet_queue_messages", labels | {"priority": priority}, lambda minute: 40 + minute % 7
        for state in ("running", "prefetched", "eta", "orphaned"):
            yield "fleet_queue_in_flight", labels | {"state": state}, _always(2)
        gauges = {"age_seconds": 12, "consumers": 2, "consumers_expected": 2, "consumers_min": 1, "free_slots": 3, "slots": 8}
        for name, number in gauges.items():
            yield f"fleet_queue_{name}", labels, _always(number)
        yield "fleet_queue_age_upper_seconds", labels, _always(float("inf"))
        yield "fleet_queue_begun_total", labels, _counting(60)
        yield from _histogram("fleet_queue_wait_seconds", labels, WAIT_BUCKETS)
    yield "fleet_queue_objective_seconds", {"queue": "default"}, _always(10)
    for role in ("web", "gpu"):
        for name, of_role in (("tasks", 45.0), ("slots", 8.0), ("age_ratio", 1.2)):
            yield f"fleet_role_{name}", {"role": role}, _always(of_role)
    yield "fleet_queue_late_total", {"queue": "default"}, _counting(1)


def _workers() -> Iterator[tuple[str, dict[str, str], Value]]:
    for role, host, release in (("web", "web1", "r1"), ("web", "web2", "r2"), ("gpu", "gpu1", "r1")):
        labels = {"worker": f"{role}-worker-1@{host}", "role": role, "host": host}
        gauges = {"up": 1, "expected": 1, "heard_seconds": 3, "consuming": 1, "draining": 0, "device_available": 1, "slots": 8}
        gauges |= {"running": 3, "prefetched": 2, "eta": 1, "overdue": 0, "oldest_running_seconds": 9, "start_time_seconds": 70}
        for name, number in (gauges | {"memory_bytes": 100000000, "memory_max_bytes": 500000000, "oom_kills_total": 0}).items():
            yield f"fleet_worker_{name}", labels, _always(number)
        began = HOURS * 60 - 1 if release == "r2" else 0
        yield "fleet_worker_info", labels | {"release": release, "revision": "a1", "pool": "prefork"}, _since(began, 1)


def _histogram(name: str, labels: dict[str, str], limits: tuple[float, ...]) -> Iterator[tuple[str, dict[str, str], Value]]:
    for number, limit in enumerate((*map(float, limits), float("inf")), 1):
        yield f"{name}_bucket", labels | {"le": str(limit).replace("inf", "+Inf")}, _counting(number)
    yield f"{name}_sum", labels, _counting(50)
    yield f"{name}_count", labels, _counting(len(limits) + 1)


def _always(value: float) -> Value:
    return lambda minute: value


def _counting(a_minute: float) -> Value:
    return lambda minute: a_minute * minute


def _since(began: float, value: float) -> Value:
    return lambda minute: value if minute >= began else None
