"""Delivery: what happens to a task in a crash, in a restart, or in the buffer of a busy worker."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from fleet.lint.app import App, AppTask
from fleet.lint.finding import Violation, each_role, rule
from fleet.plan.plan import Plan
from fleet.spec.text import enumerate_briefly

LONG = 60
"""Seconds. A busy worker should not reserve a task that may take longer."""


@rule("early-ack", "warning")
def early_ack(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A task that is acknowledged before it runs is lost if its worker dies."""
    if "task_acks_late" in plan.fleet.settings.left_to_app:
        advice = "killed workers lose them; take it out of left_to_app, or name them in at_most_once"
        yield from _acknowledged_early(plan, apps, "not for {}: " + advice)


@rule("late-ack", "note")
def late_ack(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Workers acknowledge every task after it ran, even if the app does not say so. If a worker is killed, its tasks run
    again."""
    if "task_acks_late" not in plan.fleet.settings.left_to_app:
        advice = "which the app would lose with a worker; name what must never run twice in at_most_once"
        yield from _acknowledged_early(plan, apps, "set for {}, " + advice)


def _acknowledged_early(plan: Plan, apps: tuple[App, ...], message: str) -> Iterator[Violation]:
    """The tasks of each app that the app acknowledges before they run. message: with {} in place of their names."""
    for app in apps:
        early = [task.name for task in _at_least_once(plan, app) if not task.acks_late]
        if early:
            yield Violation(f"{app.app}: task_acks_late", message.format(enumerate_briefly(early)))


@rule("reject-on-worker-lost", "error")
def reject_on_worker_lost(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """acks_late alone does not help if a prefork child is killed, for example for its memory: its task is acknowledged as failed.
    Killing a child lost its task; with reject_on_worker_lost it did not."""
    if "task_reject_on_worker_lost" not in plan.fleet.settings.left_to_app:
        return
    prefork = {queue for placement in each_role(plan) if placement.worker.pool == "prefork" for queue in placement.worker.queues}
    for app in apps:
        late = [
            task.name
            for task in _at_least_once(plan, app)
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
    """If a name in at_most_once matches no task, the task that you meant may run twice."""
    for app in apps:
        for pattern in plan.fleet.settings.at_most_once:
            if not any(fnmatchcase(task.name, pattern) for task in app.tasks):
                yield Violation(
                    "at_most_once", f"{pattern}: {app.app} has no such task; write a name, or a pattern such as shop.payments.*"
                )


def _at_least_once(plan: Plan, app: App) -> list[AppTask]:
    """The app's tasks that at_most_once does not name."""
    patterns = plan.fleet.settings.at_most_once
    return [task for task in app.tasks if not any(fnmatchcase(task.name, pattern) for pattern in patterns)]


@rule("long-prefetch", "warning")
def long_prefetch(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A task that a busy worker has reserved waits, even while another worker is idle."""
    for placement in each_role(plan):
        worker = placement.worker
        if worker.reserved_per_slot > 1 and worker.time_limit > LONG:
            wait = (worker.reserved_per_slot - 1) * worker.time_limit
            yield Violation(
                f"{placement.path}.prefetch",
                f"{worker.prefetch}: a task may wait {wait} s behind {worker.reserved_per_slot - 1} × {worker.time_limit} s "
                'while another worker is idle; write 1, or "disabled"',
            )


@rule("cold-stop", "error")
def cold_stop(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """REMAP_SIGTERM makes every stop a cold one: gevent and solo lost the tasks that they ran, prefork 4 of 60."""
    for placement in plan.placed:
        settings = plan.fleet.hosts[placement.host].settings
        value = {**settings.environment, **placement.worker.environment}.get("REMAP_SIGTERM")
        if value:
            yield Violation(
                f"{placement.path}.environment.REMAP_SIGTERM",
                f"{value}: a stop of {placement.worker.pool} would drop what it runs; leave it out, tasks have stop_timeout",
                (placement.host,),
            )
