"""The broker keeps every task that it gets, and is a Redis that Celery can use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from fleet.lint.app import App, AppPatch
from fleet.lint.finding import Violation, rule
from fleet.plan.plan import Plan

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
    redis = plan.fleet.redis
    if redis and redis.maxmemory_policy != "noeviction":
        yield Violation(
            "broker.maxmemory_policy", f"{redis.maxmemory_policy} throws tasks away when memory is full; write noeviction"
        )


@rule("broker-persistence", "error")
def broker_persistence(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Without the append-only file, a restart of Redis lost 20 to 35 of 60 tasks."""
    if plan.fleet.redis and not plan.fleet.redis.appendonly:
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
    """Some versions of Celery and kombu have defects that the fleet's workers mend. The note names those of your versions."""
    for app, defect in _defects(plan, apps):
        if defect.mended:
            yield Violation(_versions(app), f"{defect.mends}; mended in the fleet's workers")


@rule("unmended-defect", "warning")
def unmended_defect(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """The fleet's workers mend a defect only in the versions of Celery and kombu that its patch is tested with."""
    for app, defect in _defects(plan, apps):
        if not defect.mended:
            yield Violation(_versions(app), f"{defect.mends}; {defect.advice}")


@rule("untried-version", "warning")
def untried_version(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """The fleet's promises are tested with some versions of Celery, kombu and redis-py. Another version may have new defects, and
    workers run it without the patches that are not written for it."""
    for app in apps:
        for version in app.untried:
            lease = "" if app.may_have_lease or plan.fleet.transport != "redis" else ", and without the lease"
            yield Violation(
                f"{app.app}: {version}",
                f"workers run it as it is{lease}; pin one that was tried, or run `fleet drill` before you trust it",
            )


def _defects(plan: Plan, apps: tuple[App, ...]) -> Iterator[tuple[App, AppPatch]]:
    """The defects of each app's versions, as far as the fleet has pools and a broker with them."""
    pools = {placement.worker.pool for placement in plan.placed}
    for app in apps:
        for defect in app.patches:
            of_broker = not defect.brokers or plan.fleet.transport in defect.brokers
            if of_broker and (not defect.pools or pools.intersection(defect.pools)):
                yield app, defect


def _versions(app: App) -> str:
    return f"{app.app}: celery {app.celery}, kombu {app.kombu}"
