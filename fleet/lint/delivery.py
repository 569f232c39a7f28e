"""Delivery: what a crash, a restart or a full prefetch buffer does to a task."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from fleet.lint.app import App, AppTask
from fleet.lint.finding import Violation, each_role, rule
from fleet.plan.plan import Plan
from fleet.spec.pools import GREEN
from fleet.spec.text import enumerate_briefly

LONG = 60
"""Seconds: a task that may take longer is better not reserved by a worker that is busy."""

DRAIN = 2
"""Seconds that kombu drains for at a time. A polling_interval has to be longer to have an effect."""


@rule("early-ack", "warning")
def early_ack(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A task that is acknowledged before it runs is lost with the worker that runs it."""
    if "task_acks_late" in plan.fleet.settings.left_to_app:
        advice = "killed workers lose them; take it out of left_to_app, or name them in at_most_once"
        yield from _acknowledged_early(plan, apps, "not for {}: " + advice)


@rule("late-ack", "note")
def late_ack(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Workers acknowledge every task after it ran, also where the app does not say so: one whose worker is killed runs again."""
    if "task_acks_late" not in plan.fleet.settings.left_to_app:
        advice = "which the app would lose with a worker; name what must never run twice in at_most_once"
        yield from _acknowledged_early(plan, apps, "set for {}, " + advice)


def _acknowledged_early(plan: Plan, apps: tuple[App, ...], message: str) -> Iterator[Violation]:
    """message: with {} where the tasks' names go."""
    for app in apps:
        early = [task.name for task in _rest(plan, app) if not task.acks_late]
        if early:
            yield Violation(f"{app.app}: task_acks_late", message.format(enumerate_briefly(early)))


@rule("reject-on-worker-lost", "error")
def reject_on_worker_lost(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """acks_late alone does not help when a prefork child is killed (for memory, say): its task is acknowledged as failed.
    Killing one child lost its task; with reject_on_worker_lost it did not."""
    if "task_reject_on_worker_lost" not in plan.fleet.settings.left_to_app:
        return
    prefork = {
        queue
        for placement in each_role(plan)
        if placement.sized.worker.pool == "prefork"
        for queue in placement.sized.worker.queues
    }
    for app in apps:
        late = [
            task.name
            for task in _rest(plan, app)
            if task.acks_late and not task.reject_on_worker_lost and prefork & set(task.queues)
        ]
        if late:
            yield Violation(
                f"{app.app}: task_reject_on_worker_lost",
                f"not for {enumerate_briefly(late)}, which have acks_late: a child that is killed loses its task; "
                "take it out of left_to_app",
            )


@rule("at-most-once-unknown", "error")
def at_most_once_unknown(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A name in at_most_once that means no task leaves the one that was meant to run twice."""
    for app in apps:
        for pattern in plan.fleet.settings.at_most_once:
            if not any(fnmatchcase(task.name, pattern) for task in app.tasks):
                yield Violation(
                    "at_most_once", f"{pattern}: {app.app} has no such task; write a name, or a pattern such as shop.payments.*"
                )


def _rest(plan: Plan, app: App) -> list[AppTask]:
    """Its tasks that nobody has named in at_most_once."""
    patterns = plan.fleet.settings.at_most_once
    return [task for task in app.tasks if not any(fnmatchcase(task.name, pattern) for pattern in patterns)]


@rule("long-prefetch", "warning")
def long_prefetch(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """What a busy worker has reserved waits for it, while another worker is idle."""
    for placement in each_role(plan):
        worker = placement.sized.worker
        if worker.reserved_per_slot > 1 and worker.time_limit > LONG:
            wait = (worker.reserved_per_slot - 1) * worker.time_limit
            yield Violation(
                f"{placement.path}.prefetch",
                f"{worker.prefetch}: a task may wait {wait} s behind {worker.reserved_per_slot - 1} × {worker.time_limit} s "
                'while another worker is idle; write 1, or "disabled"',
            )


@rule("polling-interval", "error")
def polling_interval(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """gevent and eventlet workers never look for what a crashed worker held unless their polling ends without an error: 11 of
    11 messages stayed for good."""
    for placement in each_role(plan):
        worker = placement.sized.worker
        if worker.pool in GREEN and (worker.polling_interval is None or worker.polling_interval <= DRAIN):
            yield Violation(
                f"{placement.path}.polling_interval",
                f"{worker.polling_interval or 'none'} in {worker.pool}: it has to be above {DRAIN}; leave it out, for 3",
            )


@rule("soft-limit-pool", "error")
def soft_limit_pool(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Only prefork raises SoftTimeLimitExceeded: elsewhere code that waits for it waits in vain."""
    for placement in each_role(plan):
        worker = placement.sized.worker
        if worker.pool != "prefork" and worker.soft_time_limit is not None:
            yield Violation(
                f"{placement.path}.soft_time_limit",
                f"{worker.soft_time_limit} is never raised in {worker.pool}; leave it out, or choose prefork",
            )


@rule("task-soft-limit-pool", "note")
def task_soft_limit_pool(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """The soft limit that the app gives a task is raised in prefork alone; elsewhere only the hard one ends it."""
    for placement in each_role(plan):
        worker = placement.sized.worker
        names = [
            task.name for app in apps for task in app.tasks if task.soft_time_limit and set(task.queues) & set(worker.queues)
        ]
        if worker.pool != "prefork" and names:
            yield Violation(f"{placement.path}.pool", f"{worker.pool} never raises the soft limit of {enumerate_briefly(names)}")


@rule("cpu-in-one-process", "warning")
def cpu_in_one_process(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Python computes on one core at a time in a process: a hundred slots of it share that, and wait for each other."""
    for placement in each_role(plan):
        worker = placement.sized.worker
        if worker.workload == "cpu" and worker.pool in (*GREEN, "threads"):
            yield Violation(
                f"{placement.path}.pool",
                f"{worker.pool} runs {placement.sized.concurrency} cpu tasks on one core; write prefork, or workload io",
            )


@rule("setting-of-prefork", "warning")
def setting_of_prefork(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Some settings are about child processes, and only prefork has any; solo runs one task at a time, whatever is asked for."""
    for placement in each_role(plan):
        worker = placement.sized.worker
        if worker.pool == "prefork":
            continue
        useless = {
            "max_tasks_per_child": worker.max_tasks_per_child,
            "max_memory_per_child": worker.max_memory_per_child,
            "concurrency": worker.concurrency if worker.pool == "solo" and worker.concurrency not in ("auto", 1) else None,
            "start_method": None if worker.start_method == "fork" else worker.start_method,
        }
        for name, value in useless.items():
            if value is not None:
                yield Violation(f"{placement.path}.{name}", f"{value} does nothing in {worker.pool}; leave it out")


@rule("cold-stop", "error")
def cold_stop(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """REMAP_SIGTERM makes of every stop a cold one: gevent and solo lost what they ran, prefork 4 of 60 tasks."""
    for placement in plan.placed:
        settings = plan.fleet.hosts[placement.host].settings
        value = {**settings.environment, **placement.sized.worker.environment}.get("REMAP_SIGTERM")
        if value:
            yield Violation(
                f"{placement.path}.environment.REMAP_SIGTERM",
                f"{value}: a stop of {placement.sized.worker.pool} would drop what it runs; leave it out, "
                "tasks have stop_timeout",
                (placement.host,),
            )
