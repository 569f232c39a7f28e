"""What beat is to send has a task and a consumer, and one beat at a time sends it."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.lint.app import App
from fleet.lint.finding import Violation, rule
from fleet.plan.plan import Plan
from fleet.spec.text import did_you_mean, enumerate_briefly


@rule("schedule-without-beat", "warning")
def schedule_without_beat(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """If the fleet runs no beat, nothing sends the tasks of a schedule."""
    for app in apps:
        if app.schedule and not plan.fleet.beat_hosts:
            yield Violation(
                f"{app.app}: beat_schedule",
                f"{enumerate_briefly(app.schedule)}: the fleet runs no beat that sends them; write hosts in the group beat of "
                'the inventory, or say where another beat runs: lint_ignore = {"schedule-without-beat": "beat runs on …"}',
            )


@rule("beat-without-schedule", "note")
def beat_without_schedule(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A beat with nothing to send is a machine's memory for nothing, or a schedule in an app that was not meant."""
    for app in apps:
        own = plan.fleet.beat.scheduler is None and (app.scheduler is None or app.scheduler.is_celerys)
        if plan.fleet.beat_hosts and not app.schedule and own:
            yield Violation(f"{app.app}: beat_schedule", "empty, and the fleet runs a beat for it", plan.fleet.beat_hosts)


@rule("beat-unknown-task", "error")
def beat_unknown_task(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Workers park a task that they do not know. An entry of the schedule would fill the dead letters."""
    for app in apps if plan.fleet.beat_hosts else ():
        names = [task.name for task in app.tasks]
        for entry in app.entries:
            if not entry.known:
                hint = did_you_mean(entry.task, names) or "take the entry out, or import the module that has the task"
                yield Violation(f"{app.app}: beat_schedule[{entry.name!r}]", f"no task is called {entry.task}; {hint}")


@rule("beat-unconsumed-queue", "error")
def beat_unconsumed_queue(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """What beat sends to a queue without consumers waits there for ever, and each run adds to it."""
    for app in apps if plan.fleet.beat_hosts else ():
        for entry in app.entries:
            path = f"{app.app}: beat_schedule[{entry.name!r}]"
            if entry.route_error or not entry.queues:
                yield Violation(path, f"cannot be routed: {entry.route_error or 'no queue is bound to its exchange'}")
            for queue in entry.queues:
                if not plan.consumers.get(queue):
                    hint = did_you_mean(queue, plan.consumers) or f"add {queue} to a role's queues"
                    yield Violation(path, f"no worker consumes {queue}, where {entry.task} is sent; {hint}")


@rule("beat-scheduler", "error")
def beat_scheduler(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Without its scheduler, beat does not start."""
    for app in apps if plan.fleet.beat_hosts else ():
        if app.scheduler and app.scheduler.error:
            yield Violation(
                "beat.scheduler" if plan.fleet.beat.scheduler else f"{app.app}: beat_scheduler",
                f"{app.scheduler.name} does not import: {app.scheduler.error}; is it in the app's requirements?",
            )


@rule("beat-without-lock", "error")
def beat_without_lock(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A broker that is no Redis has no lock for a leader: every beat would send the whole schedule. A deploy checks it, before
    anything is changed."""
    hosts = plan.fleet.beat_hosts
    of_apps = [app.scheduler.has_lock is False for app in apps if app.scheduler]
    if len(hosts) > 1 and (plan.fleet.transport != "redis" or any(of_apps)):
        yield Violation("beat", "the broker is no Redis, so that each of these would send everything; leave one", hosts)


@rule("beat-of-two-apps", "error")
def beat_of_two_apps(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """One beat leads in the whole fleet: the schedule of another app would not be sent."""
    names = {plan.fleet.hosts[host].settings.celery_app: host for host in plan.fleet.beat_hosts}
    if len(names) > 1:
        who = " and ".join(f"{app} on {host}" for app, host in names.items())
        yield Violation("beat", f"{who}: one of them leads, and the other's schedule is not sent; run one beat of one app")


@rule("single-beat", "note")
def single_beat(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """While the only beat's machine is away, nothing of the schedule is sent."""
    if len(plan.fleet.beat_hosts) == 1 and plan.fleet.transport == "redis":
        yield Violation("beat", "one host runs it; with a second one, that leads within seconds", plan.fleet.beat_hosts)
