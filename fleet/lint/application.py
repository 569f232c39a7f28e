"""The app's own settings against the fleet's. The settings are read by loading the app, never by parsing its code."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.lint.app import App
from fleet.lint.finding import Violation, each_role, rule
from fleet.plan.plan import Plan
from fleet.spec.fleet import Fleet
from fleet.spec.text import enumerate_briefly


@rule("app-eager", "error")
def app_eager(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """With task_always_eager no task is ever sent: tasks run in the process that calls them."""
    for app in apps:
        if app.settings.get("task_always_eager"):
            yield Violation(f"{app.app}: task_always_eager", "True: no task would reach a worker; keep it to your tests")


@rule("app-remote-control", "error")
def app_remote_control(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Without remote control a worker answers no question. Neither a drain nor the gate of a rollout can reach it."""
    for app in apps:
        if app.settings.get("worker_enable_remote_control") is False:
            yield Violation(
                f"{app.app}: worker_enable_remote_control", "False: a rollout could not ask its workers; leave it out"
            )


@rule("app-events", "warning")
def app_events(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Task events cost a third to almost half of the throughput of short tasks (0.66 and 0.58 times)."""
    for app in apps:
        if app.settings.get("worker_send_task_events"):
            yield Violation(
                f"{app.app}: worker_send_task_events", "True costs a third of the throughput of short tasks; leave it out"
            )


@rule("shared-binding", "error")
def shared_binding(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A topic exchange gives a message to every queue that is bound by its key. Celery binds a queue of task_queues that names no
    exchange to the default one, by the default key: each task is then in all of them, and runs as often."""
    for app in apps:
        bound: dict[tuple[str, str], list[str]] = {}
        for queue in app.declared:
            if queue.exchange == "topic" and queue.exchange_name:
                bound.setdefault((queue.exchange_name, queue.key), []).append(queue.name)
        for (exchange, key), names in bound.items():
            if len(names) > 1:
                first = min(names)
                yield Violation(
                    f"{app.app}: task_queues",
                    f"{enumerate_briefly(sorted(names))}: each task of one of them goes to all, which share the topic exchange "
                    f"{exchange} and the key {key}; write "
                    f'Queue("{first}", Exchange("{first}", type="topic"), "{first}"), and so on',
                )


@rule("app-overruled", "note")
def app_overruled(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A worker's flags take precedence over settings that the app makes in code."""
    for app in apps:
        for placement in each_role(plan):
            worker, sized = placement.worker, placement.sized
            flags = {
                "worker_pool": worker.pool,
                "worker_concurrency": sized.concurrency,
                "worker_prefetch_multiplier": None if worker.prefetch == "disabled" else worker.prefetch,
                "worker_max_tasks_per_child": worker.max_tasks_per_child,
            }
            for name, value in flags.items():
                fixed = app.settings.get(name)
                if fixed is not None and value is not None and fixed != value:
                    yield Violation(
                        f"{app.app}: {name}", f"{fixed}, and the workers of {placement.role} get {value} by flag, which wins"
                    )


@rule("app-broker-read", "error")
def app_broker_read(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """broker_read_url and broker_write_url take precedence over CELERY_BROKER_URL. The app's workers would not use the fleet's
    broker."""
    for app in apps:
        for name in ("broker_read_url", "broker_write_url"):
            if name in app.settings:
                yield Violation(f"{app.app}: {name}", f"{app.settings[name]} goes before the fleet's own broker; leave it out")


@rule("app-broker", "note")
def app_broker(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Workers ignore a broker address that the app sets in code. Producers elsewhere still need the fleet's address."""
    for app in apps:
        shown = _shown(plan.fleet)
        if app.broker and not app.broker.startswith(shown):
            yield Violation(f"{app.app}: broker_url", f"{app.broker}; workers get {shown} by CELERY_BROKER_URL, which wins")


def _shown(fleet: Fleet) -> str:
    """The broker's URL as workers get it, without what is secret; the name of a URL that is a secret as a whole."""
    return f"{fleet.own_broker.scheme}://{fleet.broker_netloc}" if fleet.own_broker else fleet.broker_name
