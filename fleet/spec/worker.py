"""The settings of a worker role, and the seconds that follow from them.

The file is long because it is a table: a setting takes seven lines, and a reader looks for all of them in one place.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from fleet.spec.fields import Model, setting
from fleet.spec.pod import Pod
from fleet.spec.pools import POOLS, WORKLOADS, Pool, Workload
from fleet.spec.sizes import Size
from fleet.spec.sources import CELERY, MEASURED, OURS, SYSTEMD
from fleet.spec.values import (
    Concurrency,
    Instances,
    Line,
    Names,
    Prefetch,
    Quota,
    Seconds,
    Unavailable,
    Variable,
    Variables,
    Whole,
)

STOP_MARGIN = 60
"""Seconds between a task's hard limit and systemd's SIGKILL: time to acknowledge, flush and close."""

DRAIN_MARGIN = 10
"""Seconds by which an automatic drain ends before the stop does."""

LEAST_STALL = 300
"""The shortest automatic stall timeout, in seconds."""


class Worker(Model):
    """One worker role: `<group>_worker` in `group_data/<group>.py`."""

    queues: Names = setting(
        "Queues to consume, e.g. default, priority.",
        why="A worker without its own queues would take the tasks of every role.",
        source=f"{CELERY}: Routing Tasks",
        min_length=1,
    )
    workload: Workload = setting(
        "What tasks spend their time on: io (network, database), cpu or gpu. The workload picks the defaults of other settings.",
        why="cpu picks prefork, which runs any app. io picks gevent, which needs libraries that yield.",
        source=f"{CELERY}: Workers, Concurrency",
        default="cpu",
    )
    pool: Pool = setting(
        "How an instance runs tasks: gevent, eventlet or threads for I/O; prefork for CPU; solo for one task at a time.",
        why="With I/O tasks of 50 ms, gevent -c 100 ran 1571 tasks a second in 57 MB, and prefork -c 8 148 in 248 MB.",
        source=MEASURED,
        default="prefork",
        shown="by workload",
    )
    concurrency: Concurrency = setting(
        'Tasks that one instance runs at once (-c): a number, a number for each core ("4x"), or "auto".',
        why="auto is 1 a core for cpu, 4 a core for io in prefork, 100 in gevent, eventlet and threads, and 1 for gpu and "
        "solo. It is lowered if the memory is too little.",
        source=f"{CELERY}: Workers, Concurrency; {MEASURED}",
        default="auto",
        unit="tasks",
    )
    instances: Instances = setting(
        "Worker processes of this role on each machine.",
        why="auto is one a core in gevent, eventlet, threads and solo, because their one process limits the rate of short "
        "tasks (two processes ran 1.9 to 2.5 times as many). auto is one a device for gpu, and one otherwise.",
        source=MEASURED,
        unit="processes",
        default="auto",
    )
    prefetch: Prefetch = setting(
        'Tasks that each slot reserves (--prefetch-multiplier), or "disabled" (--disable-prefetch).',
        why="Prefetching made no difference to throughput (0.95 to 1.08 times), and a reserved task waits while another "
        "worker is idle. With a prefetch of 64, a worker that joined late doubled the makespan.",
        source=MEASURED,
        default=1,
        unit="tasks a slot",
        shown="by workload",
    )
    max_tasks_per_child: Whole | None = setting(
        "Tasks after which a prefork child is replaced.",
        why="Replacing children bounds memory leaks. Below 1000 it costs throughput: at 100, tasks that do nothing ran at "
        "0.41 times the rate.",
        source=MEASURED,
        default=None,
        unit="tasks",
        shown="1000 in prefork",
        gt=0,
    )
    autoscale_min: Whole | None = setting(
        "Processes that prefork keeps while it has nothing to do (--autoscale=concurrency,N). It starts others as tasks come, "
        "and ends them when none has come for 30 s. None: all of them, always.",
        why="Memory of idle processes goes to others. It saves none in a plan, which has to be for all of them, and the first "
        "tasks of a burst wait for processes to start.",
        source=f"{CELERY}: Workers, Autoscaling",
        default=None,
        unit="processes",
        gt=0,
    )
    max_memory_per_child: Size | None = setting(
        "Peak memory (RSS) above which a prefork child is replaced, after its task.",
        why="A leaking child is replaced before the kernel kills it. None divides 0.8 of memory_max by the concurrency.",
        source=f"{CELERY}: Workers, Max memory per child",
        default=None,
        unit="bytes",
        shown="`None` (by memory_max in prefork)",
    )
    memory_per_slot: Size | None = setting(
        "Memory that one running task needs, including the libraries of its process. Measure yours with `systemctl status`.",
        why="Without this setting, sizing assumes tasks that need next to nothing: 26 MB a slot in prefork, 0.5 MB in other "
        "pools.",
        source=MEASURED,
        default=None,
        unit="bytes",
        shown="`None` (a measured table)",
    )
    start_method: Literal["fork", "spawn"] = setting(
        "How prefork starts its children: fork, or spawn for CUDA.",
        why="CUDA cannot be initialised again in a forked child. fork starts faster and shares memory.",
        source=f"{CELERY}: Workers (worker_pool start method)",
        default="fork",
        shown="by workload",
    )
    soft_time_limit: Seconds | None = setting(
        "Seconds until SoftTimeLimitExceeded is raised in a task (prefork only).",
        why="Only tasks that handle the exception gain from it.",
        source=f"{CELERY}: Workers, Time Limits",
        default=None,
        unit="seconds",
    )
    time_limit: Seconds = setting(
        "Seconds that a task may run. threads and solo do not enforce the limit.",
        why="Without a limit, a task that hangs holds its slot for ever.",
        source=f"{CELERY}: Workers, Time Limits",
        default=600,
        unit="seconds",
    )
    stop_timeout: Seconds | None = setting(
        "Seconds that a stop may take before systemd kills the remaining processes (TimeoutStopSec).",
        why=f"The {STOP_MARGIN} s after time_limit are for acknowledging, flushing and closing. systemd's own default of 90 s "
        "kills tasks.",
        source="systemd.service(5); celery#6541",
        default=None,
        unit="seconds",
        shown=f"`None` (time_limit + {STOP_MARGIN})",
    )
    drain_timeout: Seconds | None = setting(
        "Seconds of the drain: before SIGTERM, the worker takes no new task and finishes the tasks that it holds.",
        why="Running tasks get their full time while the worker can still reconnect and acknowledge.",
        source=OURS,
        default=None,
        unit="seconds",
        shown="`None` (time_limit)",
    )
    stall_timeout: Seconds | None = setting(
        "Seconds that a free slot may sit idle while tasks wait. Then systemd restarts the worker.",
        why="A worker without a connection can stay `active (running)` for ever. A task that runs longer than this is over "
        "its time limit anyway. solo has no watchdog: a stalled solo worker looks like a busy one.",
        source="celery#8030, #9191, #10205",
        default=None,
        unit="seconds",
        shown=f"`None` (time_limit, at least {LEAST_STALL})",
    )
    max_deliveries: Whole = setting(
        "How often a task is delivered again after it took its worker down. Then it is parked as a dead letter (see "
        "`fleet parked`).",
        why="Without a limit, a task that crashes its worker is redelivered for ever. 0 disables the limit.",
        source=OURS,
        default=3,
        unit="deliveries",
        ge=0,
    )
    longest_eta: Whole = setting(
        "The longest countdown or ETA of tasks in these queues. It matters without a lease, and with RabbitMQ.",
        why="A worker holds such a message until its ETA, and the visibility timeout, or RabbitMQ's consumer_timeout, has to be "
        "longer.",
        source=f"{CELERY}: Redis, Visibility timeout",
        default=0,
        unit="seconds",
        ge=0,
    )
    retry_delay: Whole = setting(
        "The longest delay before a retry. It matters without a lease, and with RabbitMQ.",
        why="A retry is sent with an ETA. 180 is Celery's own default_retry_delay.",
        source=f"{CELERY}: Tasks, Retrying",
        default=180,
        unit="seconds",
        ge=0,
    )
    memory_high: Size | None = setting(
        "Memory above which the kernel slows the instance down (MemoryHigh).",
        why="Above the limit every process of the instance is slowed down: one task that took too much memory stopped all "
        "others for a minute and more. At memory_max, that task alone is killed at once.",
        source=f"{SYSTEMD}; {MEASURED}",
        default=None,
        unit="bytes",
    )
    memory_max: Size | None = setting(
        "Memory above which the kernel kills a process of the instance (MemoryMax).",
        why="None shares the machine's memory, less machine_reserve, among its instances by their expected need.",
        source=SYSTEMD,
        default=None,
        unit="bytes",
        shown="`None` (a share of the machine)",
    )
    cpu_weight: Whole = setting(
        "Share of processor time relative to the machine's other services (CPUWeight).",
        why="100 is the weight of every service.",
        source=SYSTEMD,
        default=100,
        ge=1,
        le=10000,
    )
    cpu_quota: Quota | None = setting(
        'The most processor time that one instance gets (CPUQuota), e.g. "150%": one and a half cores.',
        why="Without a quota, an instance can use idle cores. Sizing counts only the cores that the quota leaves.",
        source=SYSTEMD,
        default=None,
    )
    min_consumers: Whole = setting(
        "Workers that keep consuming each queue of this role while others restart.",
        why="If a restart would leave fewer, a second instance starts first. With 0 a queue may wait during a deploy; gpu "
        "picks 0, because a device's memory seldom holds two workers.",
        source=OURS,
        default=1,
        ge=0,
        unit="instances",
        shown="1; 0 for gpu",
    )
    settle: Whole = setting(
        "Seconds that a new worker is watched before the rollout goes on.",
        why="A worker that consumes and then crashes is noticed in the first step.",
        source=OURS,
        default=5,
        unit="seconds",
        ge=0,
        le=3600,
    )
    canary_settle: Whole = setting(
        "Seconds that a canary is watched. Its failed tasks are then compared with those of the other workers.",
        why="Some tasks have to end in this time. Raise it if your tasks take longer.",
        source=OURS,
        default=10,
        unit="seconds",
        ge=0,
        le=3600,
    )
    canary: bool = setting(
        "Whether one instance of the role goes first in a rollout, alone.",
        why="A defect of a release then shows in one worker, which is put back.",
        source=OURS,
        default=True,
    )
    max_unavailable: Unavailable = setting(
        'Instances of the role that may restart at once: a number, or a share such as "25%" (at least one).',
        why="A quarter keeps three quarters of the throughput, and a rollout of any size takes few steps.",
        source="the Kubernetes default for a rolling update",
        default="25%",
        unit="instances",
    )
    database_connections: Whole = setting(
        "Database connections that one process opens at most: pool size plus overflow.",
        why="0: the app has no database, or its connections are not counted.",
        source=OURS,
        unit="connections",
        default=0,
        ge=0,
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "Celery's --loglevel.",
        why="INFO writes a line when a task starts and a line when it ends.",
        source=f"{CELERY}: Workers",
        default="INFO",
    )
    log_format: Literal["text", "json", "app"] = setting(
        'One line for each event, as text or as json. "app" leaves the format to Celery and the app.',
        why="In Celery's own format, a traceback of thirty lines is thirty journal entries, mixed with the lines of other tasks.",
        source=OURS,
        default="text",
    )
    environment: dict[Variable, Line] = setting(
        "Environment variables of this role's workers. Do not put secrets here.",
        why="Group data is in git, and every user of the machine can read these variables.",
        source=OURS,
        default={},
    )
    secrets: Variables = setting(
        "Names in the secrets file whose values this role's workers get as environment variables.",
        why="A role gets the secrets that it needs, and no others.",
        source=OURS,
        default=[],
    )
    kubernetes: Pod = setting(
        "What the role is on Kubernetes; see below. Machines ignore it.",
        why="`fleet k8s` writes the same role as manifests.",
        source=OURS,
        default=Pod(),
        shown="see below",
    )

    @model_validator(mode="before")
    @classmethod
    def _pick_defaults(cls, given: Any) -> Any:
        """Add the defaults that the workload and the pool pick. Settings that are given take precedence."""
        if not isinstance(given, dict):
            return given
        workload = given.get("workload", cls.model_fields["workload"].default)
        picked = {**WORKLOADS.get(workload, {}), **given} if isinstance(workload, str) else given
        pool = picked.get("pool", "prefork")
        if pool != "prefork" and "start_method" not in given:
            picked = {name: value for name, value in picked.items() if name != "start_method"}
        return {**POOLS.get(pool, {}), **picked} if isinstance(pool, str) else picked

    @property
    def stop_seconds(self) -> int:
        """Seconds that a stop may take before systemd kills the remaining processes (TimeoutStopSec)."""
        return self.stop_timeout or self.time_limit + STOP_MARGIN

    @property
    def longest_stop(self) -> int:
        """Seconds that a stop takes at most. While its tasks make progress, a stopping worker asks systemd to extend
        stop_seconds."""
        all_tasks = self.drain_seconds + self.reserved_per_slot * self.time_limit + STOP_MARGIN
        return self.stop_timeout or max(self.stop_seconds, all_tasks)

    @property
    def stall_seconds(self) -> int | None:
        """Seconds without progress after which systemd restarts the worker; None if the pool has no watchdog."""
        return None if self.pool == "solo" else self.stall_timeout or max(LEAST_STALL, self.time_limit)

    @property
    def drain_seconds(self) -> int:
        """Seconds of the drain, the first phase of a stop. By default it ends DRAIN_MARGIN before the stop does."""
        return self.drain_timeout or max(1, min(self.time_limit, self.stop_seconds - DRAIN_MARGIN))

    @property
    def reserved_per_slot(self) -> int:
        """Messages that a slot holds unacknowledged at most, including the running task's."""
        return 1 if self.prefetch == "disabled" else int(self.prefetch)

    @property
    def longest_unacknowledged(self) -> int:
        """Seconds that a worker may hold a message: the tasks before it, its own run, its ETA and the delay of its retry."""
        return self.reserved_per_slot * self.time_limit + self.longest_eta + self.retry_delay
