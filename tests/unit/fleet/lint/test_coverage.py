"""Rules about queues and their consumers."""

from dataclasses import replace

import pytest

from fleet.lint import coverage
from fleet.plan.plan import Plan
from tests.unit.fleet.lint.rules_support import APP, Case, app_with, assert_finds, plan, rules_of
from tests.unit.fleet_support import plan_of

pytestmark = pytest.mark.usefixtures("app_folder")


def two_apps_on_one_queue() -> Plan:
    fleet = plan(batch={"queues": ["default"]}).fleet
    hosts = {
        name: replace(host, settings=host.settings.model_copy(update={"celery_app": "other.app"})) if "batch" in name else host
        for name, host in fleet.hosts.items()
    }
    return plan_of(replace(fleet, hosts=hosts))


CASES = {
    "queue-without-consumer": Case(
        plan,
        app_with({"queues": ("reports",)}),
        "shop.app: queue reports: no worker consumes it, and this is routed there: shop.report; add reports to a role's queues",
    ),
    "queue-without-task": Case(
        lambda: plan(batch={"queues": ["batch", "bacth"]}),
        APP,
        "batch_worker.queues: no task is routed to bacth; did you mean batch?",
    ),
    "default-queue": Case(
        plan,
        app_with(default_queue="celery"),
        "shop.app: task_default_queue: no worker consumes celery, the queue of all tasks without a route",
    ),
    "queue-not-declared": Case(
        lambda: plan(batch={"queues": ["batch", "later"]}),
        app_with(settings={"task_create_missing_queues": False}),
        "batch_worker.queues: later not in the app's task_queues (default, batch)",
    ),
    "route-fails": Case(
        plan,
        app_with({"queues": (), "route_error": "KeyError: 'x'"}),
        "shop.app: task_routes: shop.report cannot be routed: KeyError: 'x'",
    ),
    "min-consumers": Case(
        lambda: plan(batch={"min_consumers": 3}),
        APP,
        "batch_worker.min_consumers: 3, and queue batch has 2 in all; write at most 2",
    ),
    "single-consumer": Case(lambda: plan(hosts_a_role=1), APP, "batch_worker.queues: one consumer in the whole fleet for batch"),
    "unused-group-data": Case(
        lambda: replace(plan(), fleet=replace(plan().fleet, unused_group_data=("batsh",))),
        APP,
        "group_data/batsh.py: no host is in a group batsh; did you mean batch?",
    ),
    "objective-without-queue": Case(
        lambda: plan(slo={"defualt": 10}), APP, "slo['defualt']: no worker consumes defualt; did you mean default?"
    ),
    "shared-queue": Case(
        two_apps_on_one_queue,
        APP,
        "queue default: consumed by workers of shop.app (web) and other.app (batch)",
    ),
}


def test_every_rule_of_the_module_has_a_case() -> None:
    assert set(CASES) == rules_of(coverage)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_reports_its_case(rule: str) -> None:
    assert_finds(rule, CASES[rule])
