"""The broker keeps every task that it gets, and is a Redis that Celery can use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from fleet.lint.app import App
from fleet.lint.finding import Violation, rule
from fleet.plan.plan import Plan
from fleet.spec.pools import GREEN

BROKER_VARIABLES = (
    "BROKER_URL",  # as celery's -b
    "CELERY_BROKER_READ_URL",
    "CELERY_BROKER_URL",
    "CELERY_BROKER_WRITE_URL",
    "CELERY_RESULT_BACKEND",
    "RESULT_BACKEND",  # as celery's --result-backend
)
"""Environment variables from which Celery takes an address first."""


@rule("broker-eviction", "error")
def broker_eviction(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """If Redis evicts keys, it throws waiting tasks away without an error."""
    policy = plan.fleet.broker.maxmemory_policy
    if policy != "noeviction":
        yield Violation("broker.maxmemory_policy", f"{policy} throws tasks away when memory is full; write noeviction")


@rule("broker-persistence", "error")
def broker_persistence(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Without the append-only file, a restart of Redis lost 20 to 35 of 60 tasks."""
    if not plan.fleet.broker.appendonly:
        yield Violation("broker.appendonly", "False: a restart of Redis loses every task that waits; write True")


@rule("broker-url", "error")
def broker_url(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """The deploy gives workers the address of the fleet's broker. An address in their environment takes precedence over it."""
    for placement in plan.placed:
        settings = plan.fleet.hosts[placement.host].settings
        layers: tuple[tuple[str, Mapping[str, str]], ...] = (
            ("environment", settings.environment),
            (f"{placement.path}.environment", placement.worker.environment),
        )
        for path, environment in layers:
            for name in BROKER_VARIABLES:
                if name in environment:
                    yield Violation(f"{path}.{name}", _why_not(environment[name]), (placement.host,))
        for name in placement.worker.secrets:
            if name in BROKER_VARIABLES:
                yield Violation(
                    f"{placement.path}.secrets", f"{name} goes before the fleet's own broker; leave it out", (placement.host,)
                )


def _why_not(url: str) -> str:
    """Why this URL must not be set. Only its scheme and hosts are shown: any other part may hold a password."""
    scheme, separator, rest = url.partition("://")
    hosts = re.split(r"[/?#]", rest.rpartition("@")[2])[0]
    if not separator:
        return "goes before the fleet's own broker, which is then deployed for nobody; leave it out"
    if "cluster" in scheme or "," in hosts:
        return f"{scheme}://{hosts}: Redis Cluster is no broker for Celery (keys of one task lie on several nodes); leave it out"
    if scheme in ("valkey", "valkeys"):
        return f"{scheme}:// is unknown to Celery; for a Valkey write {scheme.replace('valkey', 'redis')}://"
    return f"{scheme}://{hosts} goes before the fleet's own broker, which is then deployed for nobody; leave it out"


@rule("known-defect", "note")
def known_defect(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Some versions of Celery and kombu lose or repeat tasks. The note says what the fleet does about it."""
    green = {placement.worker.pool for placement in plan.placed} & set(GREEN)
    for app in apps:
        if app.celery == "5.7.0":
            yield Violation(
                f"{app.app}: celery {app.celery}",
                "a worker that holds tasks ends when its broker goes away (AttributeError 'hostname', celery#10242); "
                + (
                    "mended in the fleet's workers"
                    if app.kombu == "5.7.0"
                    else "systemd starts it again after 2 s, and its tasks run again; with kombu 5.7.0 that is mended here"
                ),
            )
        if app.kombu.startswith("5.") and green:
            yield Violation(
                f"{app.app}: kombu {app.kombu}",
                f"{' and '.join(sorted(green))} workers do not give back what a crashed worker held (kombu#1025, #4968, #4976); "
                "mended in the fleet's workers by a polling_interval",
            )


@rule("hand-over", "warning")
def hand_over(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A message that Redis hands to a worker whose machine is gone is lost, unless it is written down as it is taken (decision
    0015)."""
    for app in apps:
        if tuple(int(part) for part in re.findall(r"\d+", app.kombu)[:2]) < (5, 7):
            yield Violation(
                f"{app.app}: kombu {app.kombu}",
                "a reset machine or a cut network may lose a task for each of its workers; pin 5.7.0, where that is mended here",
            )
