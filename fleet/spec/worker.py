"""The settings of a worker role: `<group>_worker` in `group_data/<group>.py`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from fleet.spec.fields import Model, setting
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


class Worker(Model):
    """One worker role: `<group>_worker` in `group_data/<group>.py`."""

    queues: Names = setting(
        "Queues to consume, e.g. default, priority.",
        why="A worker without a queue of its own would take everybody's tasks.",
        source=f"{CELERY}: Routing Tasks",
        min_length=1,
    )
    workload: Workload = setting(
        "What the tasks mostly wait for: io (network, database), cpu, or gpu. It picks the defaults below.",
        why="prefork, which cpu picks, runs any app; gevent needs libraries that yield.",
        source=f"{CELERY}: Workers, Concurrency",
        default="cpu",
    )
    pool: Pool = setting(
        "gevent, eventlet or threads for I/O; prefork for CPU; solo for one task at a time.",
        why="I/O tasks of 50 ms: gevent -c 100 ran 802 a second in 47 MB, prefork -c 8 ran 156 in 228 MB.",
        source=MEASURED,
        default="prefork",
        shown="by workload",
    )
    concurrency: Concurrency = setting(
        'Tasks at once in one instance (-c): a number, a number a core ("4x"), or "auto".',
        why="auto is 1 a core for cpu, 4 a core for io in prefork, 100 in gevent, eventlet and threads, 1 for gpu and solo; "
        "less where the memory is too little.",
        source=f"{CELERY}: Workers, Concurrency; {MEASURED}",
        default="auto",
        unit="tasks",
    )
    instances: Instances = setting(
        "Worker processes of this role on each machine.",
        why="auto is one a core for gevent, eventlet, threads and solo, whose one process is the limit for short tasks (two "
        "gave 1.9 to 2.5 times one); one a device for gpu; else one.",
        source=MEASURED,
        unit="processes",
        default="auto",
    )
    prefetch: Prefetch = setting(
        'Tasks reserved ahead, a slot (--prefetch-multiplier), or "disabled" (--disable-prefetch).',
        why="Flags made no difference to throughput (0.95 to 1.08), and what is reserved waits while another worker is idle: a "
        "worker that joined late doubled the makespan at 64.",
        source=MEASURED,
        default=1,
        unit="tasks a slot",
        shown="by workload",
    )
    max_tasks_per_child: Whole | None = setting(
        "Recycle a prefork child after so many tasks.",
        why="It bounds leaks. Under 1000 costs throughput (100: 0.41 times, with tasks that do nothing).",
        source=MEASURED,
        default=None,
        unit="tasks",
        shown="1000 in prefork",
        gt=0,
    )
    max_memory_per_child: Size | None = setting(
        "Recycle a prefork child whose peak memory (RSS) is above, after its task.",
        why="auto is 0.8 of memory_max, shared by the children: a leak is recycled before the kernel kills.",
        source=f"{CELERY}: Workers, Max memory per child",
        default=None,
        unit="bytes",
        shown="auto in prefork",
    )
    memory_per_slot: Size | None = setting(
        "Memory that one task at once takes, the libraries of its process included; measure yours with `systemctl status`.",
        why="Without it a worker is sized as if its tasks took next to nothing: 26 MB a slot in prefork, 0.5 MB elsewhere.",
        source=MEASURED,
        default=None,
        unit="bytes",
        shown="a measured table",
    )
    start_method: Literal["fork", "spawn"] = setting(
        "How prefork makes children; spawn for CUDA.",
        why="CUDA cannot be initialised again in a forked child; fork starts faster and shares memory.",
        source=f"{CELERY}: Workers (worker_pool start method)",
        default="fork",
        shown="by workload",
    )
    soft_time_limit: Seconds | None = setting(
        "Seconds until SoftTimeLimitExceeded is raised in the task (prefork only).",
        why="Only tasks that handle it gain from it.",
        source=f"{CELERY}: Workers, Time Limits",
        default=None,
        unit="seconds",
    )
    time_limit: Seconds = setting(
        "Seconds a task may take (threads and solo do not enforce it).",
        why="A task that hangs holds a slot for ever without it.",
        source=f"{CELERY}: Workers, Time Limits",
        default=600,
        unit="seconds",
    )
    stop_timeout: Seconds | None = setting(
        "Seconds that a stop may take before systemd kills what still runs (TimeoutStopSec).",
        why=f"auto is time_limit and {STOP_MARGIN}: time to acknowledge, flush and close. systemd's own 90 s kill tasks.",
        source="systemd.service(5); celery#6541",
        default=None,
        unit="seconds",
        shown="auto",
    )
    drain_timeout: Seconds | None = setting(
        "Seconds that a stop gives to what a worker holds before SIGTERM: it takes nothing new, and is otherwise whole.",
        why="auto is time_limit: what runs has all its time while the worker can still reconnect and acknowledge.",
        source=OURS,
        default=None,
        unit="seconds",
        shown="auto",
    )
    stall_timeout: Seconds | None = setting(
        "Seconds for which a worker with a free slot may begin nothing while its queues hold tasks; then it is restarted.",
        why="A worker can be connected to nothing and be `active (running)` for ever. auto is time_limit, and at least 300: what "
        "runs longer is over its limit anyway. solo cannot be told from a worker at work: it has no watchdog.",
        source="celery#8030, #9191, #10205",
        default=None,
        unit="seconds",
        shown="auto",
    )
    max_deliveries: Whole = setting(
        "How often a task may be delivered again after it took its worker down; then it is parked (see `fleet parked`).",
        why="A task that kills whoever runs it would circle for ever. 0: it may.",
        source=OURS,
        default=3,
        unit="deliveries",
        ge=0,
    )
    longest_eta: Whole = setting(
        "The longest countdown or ETA that tasks in these queues are sent with.",
        why="A worker holds such a message all that time, and the visibility timeout has to be longer.",
        source=f"{CELERY}: Redis, Visibility timeout",
        default=0,
        unit="seconds",
        ge=0,
    )
    retry_delay: Whole = setting(
        "The longest delay before a retry.",
        why="A retry is an ETA. 180 is Celery's own default_retry_delay.",
        source=f"{CELERY}: Tasks, Retrying",
        default=180,
        unit="seconds",
        ge=0,
    )
    polling_interval: float | None = setting(
        "Seconds that one look for a message may take.",
        why="gevent and eventlet workers give back what a crashed worker held only with it: without, 11 of 11 messages stayed "
        "for good. It has to be above the 2 seconds of a drain.",
        source=f"{MEASURED}; kombu#1025, #4968, #4976",
        default=None,
        unit="seconds",
        shown="3 in gevent and eventlet",
        gt=0,
        allow_inf_nan=False,
    )
    memory_high: Size | None = setting(
        "Above it the kernel slows the instance down (MemoryHigh).",
        why="None: above it every process of the instance is held up, and one task that takes too much stopped all others for a "
        "minute and more, where at memory_max it alone is killed at once.",
        source=f"{SYSTEMD}; {MEASURED}",
        default=None,
        unit="bytes",
    )
    memory_max: Size | None = setting(
        "Above it the kernel kills in the instance (MemoryMax).",
        why="auto shares the machine's memory, less machine_reserve, among its instances by what they are expected to need.",
        source=SYSTEMD,
        default=None,
        unit="bytes",
        shown="auto",
    )
    cpu_weight: Whole = setting(
        "Share of the processor against the machine's other services (CPUWeight).",
        why="100 is everybody's.",
        source=SYSTEMD,
        default=100,
        ge=1,
        le=10000,
    )
    cpu_quota: Quota | None = setting(
        'The most processor time that one instance gets (CPUQuota), e.g. "150%" of one core.',
        why="None: idle cores are there to be used. Sizing counts the cores that it leaves.",
        source=SYSTEMD,
        default=None,
    )
    min_consumers: Whole = setting(
        "Workers that every queue of this role keeps while others restart.",
        why="Where one that goes down would leave fewer, a second is started first. 0 allows that a queue waits during a deploy: "
        "what gpu picks, since a device's memory seldom holds two.",
        source=OURS,
        default=1,
        ge=0,
        unit="instances",
        shown="1; 0 for gpu",
    )
    settle: Whole = setting(
        "Seconds that a worker is watched after it came up, before the rollout goes on.",
        why="One that consumes and then falls over is found in the first step.",
        source=OURS,
        default=5,
        unit="seconds",
        ge=0,
        le=3600,
    )
    canary_settle: Whole = setting(
        "The same for a canary, whose failed tasks are then compared with the other workers'.",
        why="Long enough for some tasks to end: more, where yours take longer.",
        source=OURS,
        default=10,
        unit="seconds",
        ge=0,
        le=3600,
    )
    canary: bool = setting(
        "Whether one instance of the role goes first in a rollout, alone.",
        why="What is wrong with a release is then found by one worker, and put back.",
        source=OURS,
        default=True,
    )
    max_unavailable: Unavailable = setting(
        'How many of the role\'s instances may restart at once: a number, or a share such as "25%" (at least one).',
        why="A quarter keeps three quarters of the throughput, and a rollout of any size takes few steps.",
        source="the Kubernetes default for a rolling update",
        default="25%",
        unit="instances",
    )
    database_connections: Whole = setting(
        "Database connections that one process opens at most (pool size and overflow).",
        why="0: the app has no database, or its connections are not to be counted.",
        source=OURS,
        unit="connections",
        default=0,
        ge=0,
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "Celery's --loglevel.", why="INFO has a line a task, begun and done.", source=f"{CELERY}: Workers", default="INFO"
    )
    log_format: Literal["text", "json", "app"] = setting(
        'One line an event, as text or as JSON; "app" leaves the format to Celery and the app.',
        why="A traceback of thirty lines is thirty entries of the journal, and between them are other tasks' lines.",
        source=OURS,
        default="text",
    )
    environment: dict[Variable, Line] = setting(
        "Environment of this role's workers. No secrets here.",
        why="They would be in git, and readable for every user of the machine.",
        source=OURS,
        default={},
    )
    secrets: Variables = setting(
        "Names in the secrets file that this role's workers get as environment.",
        why="A role gets what it needs, and no more.",
        source=OURS,
        default=[],
    )

    @model_validator(mode="before")
    @classmethod
    def _pick_defaults(cls, given: Any) -> Any:
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
        """Seconds that a stop may take before systemd kills."""
        return self.stop_timeout or self.time_limit + STOP_MARGIN

    @property
    def longest_stop(self) -> int:
        """Seconds that a stop takes at most where its tasks get on: then systemd is asked for more time than stop_seconds."""
        held = self.drain_seconds + self.reserved_per_slot * self.time_limit + STOP_MARGIN
        return self.stop_timeout or max(self.stop_seconds, held)

    @property
    def stall_seconds(self) -> int | None:
        """Seconds without progress after which systemd restarts it; None where there is no watchdog."""
        return None if self.pool == "solo" else self.stall_timeout or max(300, self.time_limit)

    @property
    def drain_seconds(self) -> int:
        """Seconds of a stop's first phase; less than all of it."""
        return self.drain_timeout or max(1, min(self.time_limit, self.stop_seconds - 10))

    @property
    def reserved_per_slot(self) -> int:
        """Messages that a slot holds unacknowledged at most, the one that it works on included."""
        return 1 if self.prefetch == "disabled" else int(self.prefetch)

    @property
    def longest_unacknowledged(self) -> int:
        """Seconds that a worker may hold a message: its own run, the wait behind those before it, its ETA, its retry's delay."""
        return self.reserved_per_slot * self.time_limit + self.longest_eta + self.retry_delay
