"""The metrics of one scrape: celery-exporter's, by their names and labels, and the fleet's own. docs/monitoring.md lists them."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from redis import RedisError

from fleet_exporter import entries
from fleet_exporter.reading import Reading
from fleet_exporter.settings import Settings
from fleet_exporter.state import Queue, Role, Worker, is_ghost, queues_of, roles_of, source_ages, workers_of
from fleet_exporter.totals import Totals
from fleet_node.protocol import RUNTIME_BUCKETS, WAIT_BUCKETS

TASK = ("name", "hostname", "queue_name")
WORKER = ("worker", "role", "host")
AS_CELERY_EXPORTER = {
    "received": "Tasks that workers have fetched.",
    "started": "Tasks that workers have begun.",
    "succeeded": "Tasks that have succeeded.",
    "rejected": "Tasks that workers have rejected.",
    "revoked": "Tasks that were revoked, or had expired.",
    "retried": "Tasks that have asked to run again.",
}

Metric = Any
"""A family of prometheus_client, which has no types in Debian."""


class Collector:
    """Reads the broker at each scrape. read: raises RedisError or OSError. totals: what was counted before."""

    def __init__(self, settings: Settings, read: Callable[[], Reading], totals: Callable[[float], Totals]) -> None:
        self._settings, self._read, self._restore = settings, read, totals
        self._totals: Totals | None = None
        self._scraping = Lock()
        self._last: float | None = None
        """When the broker was last read, by this machine's clock that does not jump."""
        self._begun = time.monotonic()
        self._now = 0.0
        self.problem = ""

    def describe(self) -> list[Metric]:
        """Nothing: whoever registers the collector does not have to wait for the broker."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics. A broker that does not answer is one of them, and no error."""
        with self._scraping:
            yield from self._collect()

    def kept(self) -> dict[str, Any] | None:
        """What has been counted, to go on with after a restart; None if nothing was read yet."""
        with self._scraping:
            return self._totals.plain(self._now) if self._totals else None

    def roles(self) -> list[Role]:
        """What roles are scaled by, read now. Raises OSError if the broker does not answer."""
        return self.look()[0]

    def look(self) -> tuple[list[Role], list[Worker]]:
        """What roles are scaled by, and all workers, read now. Raises OSError if the broker does not answer."""
        with self._scraping:
            try:
                reading = self._read()
            except RedisError as error:
                raise OSError(str(error) or type(error).__name__) from None
        workers = workers_of(reading, self._settings)
        return roles_of(self._settings, workers, queues_of(reading, self._settings, workers)), workers

    def _collect(self) -> Iterator[Metric]:
        begun = time.monotonic()
        reading: Reading | None = None
        try:
            reading = self._read()
            self.problem, self._last, self._now = "", time.monotonic(), reading.now
            if self._totals is None:
                self._totals = self._restore(reading.now)
            self._totals.take(reading.signs, reading.now)
        except (RedisError, OSError) as error:
            self.problem = str(error) or type(error).__name__
        yield gauge("fleet_broker_up", "Whether the broker answers.", bool(reading))
        silent = time.monotonic() - (self._begun if self._last is None else self._last) if not reading else 0.0
        ages = [("broker", silent)]
        if reading:
            workers = workers_of(reading, self._settings)
            ages += source_ages(reading, workers)
            yield from of_broker(reading)
            yield from of_workers(workers, reading.now)
            queues = queues_of(reading, self._settings, workers)
            yield from of_queues(queues)
            yield from of_roles(roles_of(self._settings, workers, queues))
            if self._settings.beats and reading.is_led is not None:
                yield gauge("fleet_beat_led", "Whether a beat leads, and sends what is due.", reading.is_led)
        yield from of_settings(self._settings)
        if self._totals:
            yield from of_counts(self._totals, self._settings)
        yield gauges(
            "fleet_source_age_seconds", "Seconds since a source said something.", ("source",), [((n,), a) for n, a in ages]
        )
        yield gauge("fleet_exporter_commands", "Questions of this scrape to the broker.", reading.commands if reading else 0)
        yield gauge("fleet_exporter_scrape_seconds", "Seconds that this scrape took.", time.monotonic() - begun)


def gauge(name: str, what: str, value: float) -> Metric:
    """A gauge without labels."""
    return GaugeMetricFamily(name, what, value=float(value))


def gauges(name: str, what: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """A gauge by labels."""
    family = GaugeMetricFamily(name, what, labels=labels)
    for own, value in values:
        family.add_metric(own, float(value))
    return family


def counter(name: str, what: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """A counter by labels; its name without `_total`."""
    family = CounterMetricFamily(name, what, labels=labels)
    for own, value in values:
        family.add_metric(own, float(value))
    return family


def histogram(name: str, what: str, labels: tuple[str, ...], limits: tuple[float, ...], values: Any) -> Metric:
    """A histogram by labels. values: (labels, the sum, then the number in each bucket and above)."""
    family = HistogramMetricFamily(name, what, labels=labels)
    names = [*(f"{float(limit)}" for limit in limits), "+Inf"]
    for own, (total, *numbers) in values:
        so_far, buckets = 0.0, []
        for limit, number in zip(names, numbers, strict=True):
            so_far += number
            buckets.append((limit, so_far))
        family.add_metric(own, buckets, total)
    return family


def of_broker(reading: Reading) -> Iterator[Metric]:
    """Redis itself."""
    yield gauge("fleet_dead_letters", "Tasks that no worker can run (fleet parked).", reading.parked)
    if reading.nodes:
        yield from of_nodes(reading.nodes)
    info = reading.info
    if not info:
        return  # a server that others run, and that does not say
    yield gauge("fleet_broker_memory_bytes", "Memory that the broker's data takes.", info["used_memory"])
    yield gauge("fleet_broker_memory_max_bytes", "Its limit; 0 if there is none.", info.get("maxmemory", 0))
    yield gauge("fleet_broker_clients", "Connections of the broker.", info["connected_clients"])
    yield gauge("fleet_broker_clients_max", "Their limit.", info.get("maxclients", 0))
    yield counter("fleet_broker_commands", "Commands that the broker has done.", (), [((), info["total_commands_processed"])])
    broken = "err" in (
        info.get("aof_last_write_status"),
        info.get("aof_last_bgrewrite_status"),
        info.get("rdb_last_bgsave_status"),
    )
    yield gauge("fleet_broker_persistence_ok", "Whether the broker could write its data to disk.", not broken)


def of_nodes(nodes: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    """RabbitMQ's nodes. Of several, the limits are those of the one that is nearest to its own."""
    yield gauge("fleet_broker_nodes", "RabbitMQ's nodes.", len(nodes))
    running = [node for node in nodes if node.get("running") is True]
    yield gauge("fleet_broker_nodes_up", "Of those, the ones that run.", len(running))
    alarms = sum(node.get("mem_alarm") is True or node.get("disk_free_alarm") is True for node in running)
    yield gauge("fleet_broker_nodes_alarmed", "Of those, the ones that take no tasks for want of memory or disk.", alarms)
    for name, what, used, limit in (
        ("memory", "Memory that the broker takes.", "mem_used", "mem_limit"),
        ("clients", "Connections of the broker.", "sockets_used", "sockets_total"),
    ):
        unit = "_bytes" if name == "memory" else ""
        shares = [(entries.number(node.get(used)), entries.number(node.get(limit))) for node in running]
        if shares:
            most = max(shares, key=lambda share: share[0] / (share[1] or math.inf))
            yield gauge(f"fleet_broker_{name}{unit}", what, most[0])
            yield gauge(f"fleet_broker_{name}_max{unit}", "Its limit; 0 if there is none.", most[1])


def of_workers(workers: list[Worker], now: float) -> Iterator[Metric]:
    """Every worker that is expected, or there."""

    def each(
        name: str, what: str, value: Callable[[Any], float | None], of: Callable[[Worker], Any] = lambda worker: worker
    ) -> Metric:
        known = ((worker, of(worker)) for worker in workers)
        values = ((worker.labels, value(part)) for worker, part in known if part is not None)
        return gauges(f"fleet_worker_{name}", what, WORKER, ((labels, number) for labels, number in values if number is not None))

    def sign(worker: Worker) -> Any:
        return worker.sign if worker.is_up else None

    yield each(
        "up", "Whether its lease has not ended: 0 of a worker that is expected and of which nobody says so.", lambda w: w.is_up
    )
    yield each("expected", "Whether the settings ask for it.", lambda w: w.is_expected)
    yield each("heard_seconds", "Seconds since its connection or itself said something.", lambda w: w.heard)
    yield each(
        "consuming",
        "0 if it is there, consumes nothing, and does not drain.",
        lambda w: not is_ghost(w, now) if sign(w) else None,
    )
    yield each("draining", "Whether it takes nothing more.", lambda s: s["draining"], sign)
    yield each("device_available", "Whether its device is to be used.", lambda s: not s["unavailable"], sign)
    yield each("slots", "Tasks that it runs at once.", lambda s: s["slots"], sign)
    yield each("running", "Tasks that it runs.", lambda s: sum(s["running"].values()), sign)
    yield each("prefetched", "Tasks that it holds and has not begun.", lambda s: s["reserved"], sign)
    yield each("eta", "Tasks that it holds for their ETA.", lambda s: s["eta"], sign)
    yield each("overdue", "Tasks that still run 30 s after their hard time limit.", lambda s: s.get("overdue"), sign)
    yield each(
        "oldest_running_seconds",
        "Seconds for which its longest task runs; 0 if none does.",
        lambda s: max((now - times[0] for times in s.get("begun", {}).values()), default=0.0),
        sign,
    )
    yield each("start_time_seconds", "When it started, in seconds since 1970.", lambda s: s["started_at"], sign)
    yield each("memory_bytes", "Memory of its control group.", lambda s: s.get("memory"), sign)
    yield each("memory_max_bytes", "Its limit.", lambda s: s.get("memory_max"), sign)
    alive = [(worker, worker.sign) for worker in workers if worker.is_up and worker.sign]
    yield counter(
        "fleet_worker_oom_kills",
        "Processes of it that the kernel has killed for memory.",
        WORKER,
        ((worker.labels, known.get("oom_kills", 0)) for worker, known in alive),
    )
    about = ("release", "revision", "pool")
    yield gauges(
        "fleet_worker_info",
        "What it runs.",
        (*WORKER, *about),
        (((*worker.labels, known["release"], known["revision"], known["pool"]), 1) for worker, known in alive),
    )
    machines: defaultdict[str, list[Worker]] = defaultdict(list)
    for worker in workers:
        machines[worker.machine].append(worker)
    up = [((machine,), any(worker.is_up for worker in own)) for machine, own in machines.items()]
    yield gauges("celery_worker_up", "Whether a worker of the machine is there.", ("hostname",), up)
    active = Counter[str]()
    for worker, known in alive:
        active[worker.machine] += sum(known["running"].values())
    running = [((machine,), active[machine]) for machine in machines]
    yield gauges("celery_worker_tasks_active", "Tasks that the machine's workers run.", ("hostname",), running)


def of_queues(queues: list[Queue]) -> Iterator[Metric]:
    """Every queue."""

    def each(name: str, what: str, value: Callable[[Queue], float | None], label: str = "queue") -> Metric:
        values = (((queue.name,), value(queue)) for queue in queues)
        return gauges(name, what, (label,), ((labels, number) for labels, number in values if number is not None))

    yield gauges(
        "fleet_queue_messages",
        "Messages that wait.",
        ("queue", "priority"),
        (((queue.name, str(priority)), n) for queue in queues for priority, n in (queue.by_priority or {0: 0}).items()),
    )
    yield each("fleet_queue_age_seconds", "Seconds that the oldest message waits which is due, at least.", lambda q: q.least)
    yield each("fleet_queue_age_upper_seconds", "The same at most; +Inf if that is not known.", lambda q: q.most)
    yield gauges(
        "fleet_queue_in_flight",
        "Messages that workers have.",
        ("queue", "state"),
        (((queue.name, state), number) for queue in queues for state, number in queue.in_flight.items()),
    )
    yield each("fleet_queue_consumers", "Workers that consume it.", lambda q: q.consumers)
    yield each("fleet_queue_slots", "Slots of the workers that consume it.", lambda q: q.slots)
    yield each("fleet_queue_free_slots", "Of those, the free ones of workers that do not drain.", lambda q: q.free)
    yield each("celery_queue_length", "Messages that wait, of all priorities.", lambda q: q.waiting, "queue_name")
    yield each("celery_active_consumer_count", "Workers that consume it.", lambda q: q.consumers, "queue_name")
    yield each("celery_active_worker_count", "Workers that consume it.", lambda q: q.consumers, "queue_name")
    yield each("celery_active_process_count", "Slots of the workers that consume it.", lambda q: q.slots, "queue_name")


def of_roles(roles: list[Role]) -> Iterator[Metric]:
    """Every role that the settings name: what its number of workers is scaled by."""

    def each(name: str, what: str, value: Callable[[Role], float | None]) -> Metric:
        values = (((role.name,), value(role)) for role in roles)
        return gauges(
            f"fleet_role_{name}", what, ("role",), ((labels, number) for labels, number in values if number is not None)
        )

    yield each("tasks", "Tasks that its workers run or have prefetched, and that wait in its queues.", lambda r: r.tasks)
    yield each("slots", "Tasks that its workers run at once.", lambda r: r.slots)
    yield each("age_ratio", "How long its oldest task waits, divided by the objective of its queue.", lambda r: r.age_ratio)


def of_settings(settings: Settings) -> Iterator[Metric]:
    """What the settings ask for. It is there also if the broker is not."""
    queues = settings.queues.items()

    def each(name: str, what: str, values: Iterable[tuple[str, float]]) -> Metric:
        return gauges(f"fleet_queue_{name}", what, ("queue",), (((queue,), value) for queue, value in values))

    yield each("consumers_expected", "Workers that should consume it.", ((n, queue.consumers) for n, queue in queues))
    yield each("consumers_min", "Workers that it keeps in a rollout.", ((n, queue.minimum) for n, queue in queues))
    objectives = ((name, queue.objective) for name, queue in queues if queue.objective is not None)
    yield each("objective_seconds", "Seconds after which a task should have begun (slo).", objectives)


def of_counts(totals: Totals, settings: Settings) -> Iterator[Metric]:
    """What workers have counted: by task, queue and machine, and by queue."""
    rows = list(totals.rows())
    for name, what in AS_CELERY_EXPORTER.items():
        yield counter(f"celery_task_{name}", what, TASK, ((_task(key), counts.numbers[name]) for key, counts in rows))
    sent = "Tasks that workers have fetched: producers are not asked."
    yield counter("celery_task_sent", sent, TASK, ((_task(key), counts.numbers["received"]) for key, counts in rows))
    yield counter(
        "celery_task_failed",
        "Tasks that have failed; with an empty exception, none of them.",
        (*TASK, "exception"),
        (((*_task(key), exception), number) for key, counts in rows for exception, number in [("", 0), *counts.failed.items()]),
    )
    runtimes = ((_task(key), counts.runtime) for key, counts in rows)
    yield histogram("celery_task_runtime", "Seconds that tasks ran which succeeded.", TASK, RUNTIME_BUCKETS, runtimes)
    waits = ((_task(key), counts.wait) for key, counts in rows)
    wait = "Seconds from when a task was sent, or its ETA, to when it began."
    yield histogram("celery_task_queue_wait_time", wait, TASK, WAIT_BUCKETS, waits)
    begun, by_queue = Counter[str](), dict[str, list[float]]()
    for key, counts in rows:
        begun[key.queue] += counts.numbers["started"]
        total = by_queue.setdefault(key.queue, [0.0] * (len(WAIT_BUCKETS) + 2))
        for index, value in enumerate(counts.wait):
            total[index] += value
    yield counter("fleet_queue_begun", "Tasks that have begun.", ("queue",), (((queue,), n) for queue, n in begun.items()))
    by_label = [((queue,), total) for queue, total in by_queue.items()]
    yield histogram("fleet_queue_wait_seconds", wait, ("queue",), WAIT_BUCKETS, by_label)
    late = (
        ((queue,), _above(total, expected.objective))
        for queue, total in by_queue.items()
        if (expected := settings.queues.get(queue)) and expected.objective is not None
    )
    yield counter("fleet_queue_late", "Tasks that have waited longer than their queue's objective.", ("queue",), late)
    yield gauge("fleet_exporter_series_folded", "1 if there are too many tasks to tell machines apart.", totals.folded)


def _task(key: Any) -> tuple[str, str, str]:
    return (key.task, key.machine, key.queue)


def _above(total: list[float], objective: float) -> float:
    """Of a wait histogram, what is above the first limit that is not below the objective."""
    limits = (*WAIT_BUCKETS, math.inf)
    first = next(index for index, limit in enumerate(limits) if limit >= objective)
    return sum(total[first + 2 :])
