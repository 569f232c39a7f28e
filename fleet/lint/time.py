"""Time: limits in their order, and a visibility timeout that is longer than a lease, or than any worker may hold a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from fleet.lint.app import App, AppTask
from fleet.lint.finding import Violation, each_role, rule
from fleet.plan.plan import REDIS_DEFAULT, Placement, Plan
from fleet.spec.text import enumerate_briefly
from fleet.spec.worker import STOP_MARGIN


@rule("soft-limit", "error")
def soft_limit(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A soft limit at or above the hard limit is never raised: the task is killed without a chance to clean up."""
    for placement in each_role(plan):
        soft, hard = placement.worker.soft_time_limit, placement.worker.time_limit
        if soft is not None and soft >= hard:
            yield Violation(f"{placement.path}.soft_time_limit", f"{soft} is not below time_limit {hard}; write less")


@rule("stop-timeout", "error")
def stop_timeout(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """systemd kills everything that still runs at the end of stop_timeout. Below the hard limit, that may be a task within its
    time."""
    for placement in each_role(plan):
        stop, hard = placement.worker.stop_seconds, placement.worker.time_limit
        if stop <= hard:
            yield Violation(
                f"{placement.path}.stop_timeout",
                f"{stop} is not above time_limit {hard}; leave it out, for {hard} + {STOP_MARGIN}",
            )


@rule("drain-timeout", "error")
def drain_timeout(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """systemd ends the drain, and with it the drain's report, at the end of stop_timeout."""
    for placement in each_role(plan):
        drain, stop = placement.worker.drain_seconds, placement.worker.stop_seconds
        if drain >= stop:
            yield Violation(f"{placement.path}.drain_timeout", f"{drain} is not below stop_timeout {stop}; leave it out")


@rule("limit-not-enforced", "note")
def limit_not_enforced(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """threads and solo never interrupt a task. A task that takes longer than time_limit runs on, and a restart kills it."""
    for placement in each_role(plan):
        worker = placement.worker
        if worker.pool in ("threads", "solo"):
            yield Violation(
                f"{placement.path}.time_limit",
                f"{worker.pool} does not enforce {worker.time_limit}; the tasks have to keep to it",
            )


@rule("visibility-timeout", "error")
def visibility_timeout(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Without a lease, an unacknowledged task goes to another worker after the visibility timeout. If the timeout is too short,
    tasks run twice."""
    if not _has_timeout(plan, apps):
        return
    limit: float | None = plan.visibility_timeout
    path = "visibility_timeout"
    if limit is None and not apps:
        return  # the app's settings are not known yet
    if limit is None:
        limit = min((_in_app(app, "broker_transport_options") for app in apps), default=REDIS_DEFAULT)
        path = "broker_transport_options.visibility_timeout (the app's)"
    for placement in each_role(plan):
        worker = placement.worker
        needed = worker.longest_unacknowledged
        if limit <= needed:
            held = "" if worker.reserved_per_slot == 1 else f"prefetch {worker.reserved_per_slot} × "
            yield Violation(
                path,
                f"{limit:g} is not above the {needed} s that a worker of {placement.role} may hold a task ({held}time_limit "
                f"{worker.time_limit} + longest_eta {worker.longest_eta} + retry_delay {worker.retry_delay}); write more "
                f'than {plan.longest_unacknowledged}, or "auto"',
            )


@rule("visibility-places", "warning")
def visibility_places(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Celery reads the visibility timeout in three places. With "app" and without a lease, the app has to set all three to the
    same value."""
    if plan.visibility_timeout is not None or not _has_timeout(plan, apps):
        return
    for app in apps:
        broker = _in_app(app, "broker_transport_options")
        for name, value in (
            ("result_backend_transport_options.visibility_timeout", _in_app(app, "result_backend_transport_options")),
            ("visibility_timeout", _number(app.settings.get("visibility_timeout"))),
        ):
            if value != broker:
                yield Violation(
                    f"{app.app}: {name}",
                    f"{value:g}, and {broker:g} in broker_transport_options; set all three in the app, or leave out "
                    'visibility_timeout = "app"',
                )


@rule("visibility-below-lease", "error")
def visibility_below_lease(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A consumer without a lease, such as the app on a laptop, takes tasks that nobody has renewed for its visibility timeout. If
    that is shorter than the lease, it takes tasks that the fleet's workers still run."""
    if plan.lease is None:
        return
    timeouts: list[tuple[str, float]] = [
        (f"{app.app}: broker_transport_options.visibility_timeout", _in_app(app, "broker_transport_options")) for app in apps
    ]
    if plan.visibility_timeout is not None:
        timeouts.append(("visibility_timeout", plan.visibility_timeout))
    for path, timeout in timeouts:
        if timeout < plan.lease:
            yield Violation(
                path,
                f"{timeout:g} is shorter than the lease of {plan.lease} s, so that consumers outside the fleet would take tasks "
                f"that its workers run; write {plan.lease} or more, or leave it out, for Celery's own {REDIS_DEFAULT}",
            )


@rule("task-time-limit", "error")
def task_time_limit(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A time limit that the app gives a task (or, in Celery 5.7, all tasks by task_time_limit) travels in the message and takes
    precedence over the worker's. stop_timeout comes from the role's time limit, without a lease also the visibility timeout,
    and is then too short."""
    for placement, tasks in _tasks_of_roles(plan, apps):
        worker = placement.worker
        for limit, names in _grouped(tasks, lambda task: task.time_limit).items():
            if limit > worker.time_limit:
                yield Violation(
                    f"{placement.path}.time_limit",
                    f"{worker.time_limit} is less than the {limit:g} that the app gives {names}: those may run for {limit:g} s, "
                    f"and a stop would wait {worker.stop_seconds} s for them; write {limit:g}",
                )


@rule("task-soft-limit", "error")
def task_soft_limit(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A task's soft limit may come from the app and its hard limit from the role, or the other way round. The soft limit still
    has to be lower."""
    for placement, tasks in _tasks_of_roles(plan, apps):
        worker = placement.worker
        if worker.pool != "prefork":
            continue
        by_limits: dict[tuple[float, float, str, str], list[str]] = {}
        for task in tasks:
            soft, whose = (task.soft_time_limit, "the app's") if task.soft_time_limit else (worker.soft_time_limit, "the role's")
            hard, whose_hard = (task.time_limit, "the app's") if task.time_limit else (worker.time_limit, "the role's")
            # If both limits are the role's, the rule soft-limit reports them.
            if soft and soft >= hard and "the app's" in (whose, whose_hard):
                by_limits.setdefault((soft, hard, whose, whose_hard), []).append(task.name)
        for (soft, hard, whose, whose_hard), names in by_limits.items():
            yield Violation(
                f"{placement.path}.soft_time_limit",
                f"{soft:g} ({whose}) is not below time_limit {hard:g} ({whose_hard}), for {enumerate_briefly(names)}",
            )


@rule("task-retry-delay", "error")
def task_retry_delay(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A worker holds a task until its retry. Without a lease, the visibility timeout has to be longer than that."""
    if not _has_timeout(plan, apps):
        return
    for placement, tasks in _tasks_of_roles(plan, apps):
        worker = placement.worker
        for delay, names in _grouped(tasks, lambda task: task.retry_delay).items():
            if delay > worker.retry_delay:
                yield Violation(
                    f"{placement.path}.retry_delay",
                    f"{worker.retry_delay} is less than the {delay:g} of {names}; write {delay:g}",
                )


def _has_timeout(plan: Plan, apps: tuple[App, ...]) -> bool:
    """Whether tasks come back by the visibility timeout, and not by the lease of their workers, or by RabbitMQ itself."""
    has_lease = plan.lease is not None and all(app.may_have_lease for app in apps)
    return plan.fleet.transport == "redis" and not has_lease


def _tasks_of_roles(plan: Plan, apps: tuple[App, ...]) -> Iterator[tuple[Placement, list[AppTask]]]:
    """Every role, with the tasks that are routed to its queues."""
    for placement in each_role(plan):
        yield placement, [task for app in apps for task in app.tasks if set(task.queues) & set(placement.worker.queues)]


def _grouped(tasks: Iterable[AppTask], value_of: Callable[[AppTask], float | None]) -> dict[float, str]:
    """Value → the names of the tasks that have it, in words."""
    by_value: dict[float, list[str]] = {}
    for task in tasks:
        if value := value_of(task):
            by_value.setdefault(value, []).append(task.name)
    return {value: enumerate_briefly(names) for value, names in by_value.items()}


def _in_app(app: App, name: str) -> float:
    """The visibility timeout in the app's setting `name`, a dict of transport options, in seconds."""
    options = app.settings.get(name)
    return _number(options.get("visibility_timeout") if isinstance(options, dict) else None)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else REDIS_DEFAULT
