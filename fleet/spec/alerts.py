"""When the monitor's alerts fire. What nobody would change is a number in `templates/etc/prometheus/fleet-rules.yml.j2`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fleet.spec.fields import Model, setting
from fleet.spec.sources import OURS
from fleet.spec.values import Seconds, Whole

Percent = Annotated[float, Field(gt=0, le=100)]


class Alerts(Model):
    """When alerts fire: `alerts` in `monitor` in `group_data/monitor.py`. `docs/monitoring.md` has the alerts themselves."""

    broker_used: Percent = setting(
        "BrokerNearLimit warns above this share of the broker's memory, or of its connections.",
        why="A full Redis refuses new tasks, and one without a free connection refuses producers.",
        source="redis.io: Key eviction, noeviction",
        unit="percent",
        default=80,
    )
    broker_full: Percent = setting(
        "BrokerNearLimit pages above this share of the broker's memory.",
        why="Tasks are about to be refused.",
        source=OURS,
        unit="percent",
        default=95,
    )
    broker_full_within: Seconds = setting(
        "BrokerNearLimit warns if the broker's memory is full within this time, should it grow on as in the last hour.",
        why="Half a working day is time enough to add workers, or memory.",
        source=OURS,
        unit="seconds",
        default=4 * 3600,
    )
    queue_unconsumed_for: Seconds = setting(
        "QueueUnconsumed pages if tasks wait in a queue and no worker consumes it for this time.",
        why="A rollout keeps min_consumers, so the alert is quiet in one.",
        source=OURS,
        unit="seconds",
        default=120,
    )
    queue_stalled_for: Seconds = setting(
        "QueueStalled pages if tasks wait, slots are free, and none begins for this time (and two minutes).",
        why="A worker that is alive and consumes nothing is noticed by nothing else.",
        source=OURS,
        unit="seconds",
        default=300,
    )
    queue_old_for: Seconds = setting(
        "QueueTooOld warns if the oldest task of a queue is older than the queue's objective (`slo`) for this time.",
        why="Waits that end within five minutes were the largest source of alerts that nobody could act on.",
        source="dimagi/commcare-hq, pull request 24994",
        unit="seconds",
        default=300,
    )
    queue_old_page: Annotated[float, Field(gt=1, le=1000)] = setting(
        "QueueTooOld pages if the oldest task is older than so many times the objective.",
        why="A queue that is a little late can wait for the morning.",
        source=OURS,
        unit="times the objective",
        default=5,
    )
    late_budget: Annotated[float, Field(gt=0, le=6)] = setting(
        "Share of a queue's tasks that may wait longer than its objective. WaitBudgetBurn fires if this is spent too fast: 14.4 "
        "times (page) or 6 times (warning).",
        why="At 14.4 times, a month's budget is gone in two days.",
        source="Google, The Site Reliability Workbook, Alerting on SLOs",
        unit="percent",
        default=1,
    )
    slots_busy: Annotated[float, Field(gt=0, lt=100)] = setting(
        "NotDraining fires only if more than this share of a queue's slots is busy.",
        why="With free slots, more workers would not help.",
        source=OURS,
        unit="percent",
        default=90,
    )
    drain_horizon: Seconds = setting(
        "NotDraining fires if a queue grows, and its workers need longer than this for what waits already.",
        why="An hour's work is more than a peak that passes.",
        source=OURS,
        unit="seconds",
        default=3600,
    )
    not_draining_for: Seconds = setting(
        "NotDraining fires if that lasts for this time.", why="Peaks pass.", source=OURS, unit="seconds", default=900
    )
    worker_silent_for: Seconds = setting(
        "WorkerSilent fires if no witness has heard of a worker that your files ask for, or if a queue has fewer consumers than "
        "min_consumers, for this time.",
        why="A restart takes seconds. A worker that drains is still heard of.",
        source=OURS,
        unit="seconds",
        default=120,
    )
    restarts: Whole = setting(
        "CapacityLost fires if a worker starts more often than this within 15 minutes, starts with another release not counted.",
        why="Two runs of restart.py in 15 minutes are no fault.",
        source=OURS,
        unit="starts",
        default=2,
        ge=1,
    )
    failing: Percent = setting(
        "TaskFailing fires if more than this share of a task's runs fail within 10 minutes.",
        why="The share at which celery-exporter's own alert fires.",
        source="celery-mixin, CeleryTaskHighFailRate",
        unit="percent",
        default=5,
    )
    failing_runs: Whole = setting(
        "TaskFailing looks only at tasks with at least so many runs within 10 minutes.",
        why="One failure of three runs says little.",
        source=OURS,
        unit="runs",
        default=20,
        ge=1,
    )
    blind_after: Seconds = setting(
        "MonitorBlind pages if what the monitor shows is older than this.",
        why="Other alerts cannot fire then. Exporters of Celery have shown old numbers for days, and looked well.",
        source="danihodovic/celery-exporter#365",
        unit="seconds",
        default=60,
    )
