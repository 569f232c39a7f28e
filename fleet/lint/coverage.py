"""Coverage: every queue that the app sends to has a consumer, and keeps enough consumers while workers restart."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.lint.app import App
from fleet.lint.finding import Violation, each_role, rule
from fleet.plan.plan import Plan
from fleet.spec.text import did_you_mean, enumerate_briefly


@rule("queue-without-consumer", "error")
def queue_without_consumer(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Tasks in a queue without consumers wait for ever, and nothing reports it."""
    for app in apps:
        by_queue: dict[str, list[str]] = {}
        for task in app.tasks:
            for queue in task.queues:
                if not plan.consumers.get(queue):
                    by_queue.setdefault(queue, []).append(task.name)
        for queue, names in by_queue.items():
            add = f"add {queue} to a role's queues"
            if queue == app.default_queue:
                add += ", or set task_default_queue in the app"
            hint = did_you_mean(queue, plan.consumers) or add
            yield Violation(
                f"{app.app}: queue {queue}",
                f"no worker consumes it, and this is routed there: {enumerate_briefly(names)}; {hint}",
            )


@rule("queue-without-task", "warning")
def queue_without_task(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A queue that no task is routed to may be misspelt. The rule cannot see a queue that is named only when a task is sent."""
    if not apps:
        return
    routed = {queue for app in apps for task in app.tasks for queue in task.queues}
    routed.update(queue for app in apps for queue in (*app.queues, app.default_queue))
    for placement in each_role(plan):
        for queue in placement.worker.queues:
            if queue not in routed:
                near = did_you_mean(queue, routed)
                yield Violation(f"{placement.path}.queues", f"no task is routed to {queue}" + (f"; {near}" if near else ""))


@rule("shared-queue", "error")
def shared_queue(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Workers of two apps on one queue get each other's tasks. They do not know these tasks, and park them."""
    role_by_app: dict[str, dict[str, str]] = {}
    for placement in plan.placed:
        for queue in placement.worker.queues:
            role_by_app.setdefault(queue, {}).setdefault(plan.fleet.hosts[placement.host].settings.celery_app, placement.role)
    for queue, roles in role_by_app.items():
        if len(roles) > 1:
            who = " and ".join(f"{app} ({role})" for app, role in roles.items())
            yield Violation(f"queue {queue}", f"consumed by workers of {who}; either would get the other's tasks")


@rule("default-queue", "warning")
def default_queue(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Messages without a route go to the app's default queue: tasks that are sent by name alone, and tasks that unlock a
    chord."""
    for app in apps:
        routed = {queue for task in app.tasks for queue in task.queues}
        if app.default_queue not in routed and not plan.consumers.get(app.default_queue):
            yield Violation(
                f"{app.app}: task_default_queue",
                f"no worker consumes {app.default_queue}, the queue of all tasks without a route; "
                "set it to a queue that is consumed",
            )


@rule("queue-not-declared", "error")
def queue_not_declared(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """With task_create_missing_queues off, a worker does not start if one of its queues is not in task_queues."""
    for app in apps:
        if app.settings.get("task_create_missing_queues", True):
            continue
        for placement in each_role(plan):
            missing = [queue for queue in placement.worker.queues if queue not in app.queues]
            if missing:
                yield Violation(
                    f"{placement.path}.queues",
                    f"{', '.join(missing)} not in the app's task_queues ({', '.join(app.queues) or 'empty'}), and it sets "
                    "task_create_missing_queues = False: no worker would start; declare them",
                )


@rule("route-fails", "error")
def route_fails(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """If a router fails for a task, sending the task fails. If no queue is bound for a message, the message is dropped."""
    for app in apps:
        for task in app.tasks:
            if task.route_error or not task.queues:
                why = task.route_error or "no queue is bound to its exchange by its routing key"
                yield Violation(f"{app.app}: task_routes", f"{task.name} cannot be routed: {why}")


@rule("min-consumers", "error")
def min_consumers(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """If a queue has fewer consumers than min_consumers, no worker may ever go down, and every rollout stops."""
    for placement in each_role(plan):
        for queue in placement.worker.queues:
            consumers, required = plan.consumers[queue], placement.worker.min_consumers
            if 0 < consumers < required:
                yield Violation(
                    f"{placement.path}.min_consumers",
                    f"{required}, and queue {queue} has {consumers} in all; write at most {consumers}",
                )


@rule("single-consumer", "warning")
def single_consumer(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """If a queue has one consumer, one crash leaves it with none."""
    for placement in plan.placed:
        alone = [
            queue for queue in dict.fromkeys(placement.worker.queues) if plan.consumers[queue] == 1 and placement.sized.instances
        ]
        if alone:
            yield Violation(
                f"{placement.path}.queues", f"one consumer in the whole fleet for {', '.join(alone)}", (placement.host,)
            )


@rule("unused-group-data", "warning")
def unused_group_data(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A file of group data may be misspelt if no group with a host has its name."""
    groups = {role for host in plan.fleet.hosts.values() for role in host.workers}
    for name in plan.fleet.unused_group_data:
        hint = did_you_mean(name, groups) or "rename it, or leave it out"
        yield Violation(f"group_data/{name}.py", f"no host is in a group {name}; {hint}")


@rule("objective-without-queue", "warning")
def objective_without_queue(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """An objective of a queue that no worker consumes is looked at by nothing: its name may be misspelt."""
    for queue in plan.fleet.settings.slo:
        if queue not in plan.consumers:
            hint = did_you_mean(queue, plan.consumers) or "name a queue of a role"
            yield Violation(f"slo[{queue!r}]", f"no worker consumes {queue}; {hint}")
