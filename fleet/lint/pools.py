"""Pools: settings that a role's pool does not use, and tasks that do not suit the pool."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.lint.app import App
from fleet.lint.finding import Violation, each_role, rule
from fleet.plan.plan import Plan
from fleet.spec.pools import GREEN
from fleet.spec.text import enumerate_briefly


@rule("soft-limit-pool", "error")
def soft_limit_pool(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Only prefork raises SoftTimeLimitExceeded. In other pools, code that handles it never runs."""
    for placement in each_role(plan):
        worker = placement.worker
        if worker.pool != "prefork" and worker.soft_time_limit is not None:
            yield Violation(
                f"{placement.path}.soft_time_limit",
                f"{worker.soft_time_limit} is never raised in {worker.pool}; leave it out, or choose prefork",
            )


@rule("task-soft-limit-pool", "note")
def task_soft_limit_pool(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Only prefork raises the soft limit that the app gives a task. In other pools, only the hard limit ends the task."""
    for placement in each_role(plan):
        worker = placement.worker
        names = [
            task.name for app in apps for task in app.tasks if task.soft_time_limit and set(task.queues) & set(worker.queues)
        ]
        if worker.pool != "prefork" and names:
            yield Violation(f"{placement.path}.pool", f"{worker.pool} never raises the soft limit of {enumerate_briefly(names)}")


@rule("cpu-in-one-process", "warning")
def cpu_in_one_process(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A Python process computes on one core at a time. A hundred slots of one process share that core, and wait for each
    other."""
    for placement in each_role(plan):
        worker = placement.worker
        if worker.workload == "cpu" and worker.pool in (*GREEN, "threads"):
            yield Violation(
                f"{placement.path}.pool",
                f"{worker.pool} runs {placement.sized.concurrency} cpu tasks on one core; write prefork, or workload io",
            )


@rule("setting-of-prefork", "warning")
def setting_of_prefork(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Some settings are about child processes, and only prefork has any. solo runs one task at a time, whatever its
    concurrency."""
    for placement in each_role(plan):
        worker = placement.worker
        if worker.pool == "prefork":
            continue
        useless = {
            "autoscale_min": worker.autoscale_min,
            "max_tasks_per_child": worker.max_tasks_per_child,
            "max_memory_per_child": worker.max_memory_per_child,
            "concurrency": worker.concurrency if worker.pool == "solo" and worker.concurrency not in ("auto", 1) else None,
            "start_method": None if worker.start_method == "fork" else worker.start_method,
        }
        for name, value in useless.items():
            if value is not None:
                yield Violation(f"{placement.path}.{name}", f"{value} does nothing in {worker.pool}; leave it out")


@rule("autoscale-range", "error")
def autoscale_range(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """--autoscale has processes between two numbers. With the first not above the second, Celery starts more than were asked for,
    and ends them again and again."""
    for placement in each_role(plan):
        least, most = placement.worker.autoscale_min, placement.sized.concurrency
        if placement.worker.pool == "prefork" and least is not None and least >= most:
            yield Violation(
                f"{placement.path}.autoscale_min", f"{least} is not below the concurrency of {most}; lower it, or leave it out"
            )
