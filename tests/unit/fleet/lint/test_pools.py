"""Rules about pools."""

import pytest

from fleet.lint import pools
from tests.unit.fleet.lint.rules_support import APP, Case, app_with, assert_finds, plan, rules_of

pytestmark = pytest.mark.usefixtures("app_folder")

CASES = {
    "soft-limit-pool": Case(
        lambda: plan(web={"soft_time_limit": 60}),
        APP,
        "web_worker.soft_time_limit: 60 is never raised in gevent",
    ),
    "task-soft-limit-pool": Case(
        lambda: plan(batch={"pool": "threads", "soft_time_limit": None, "workload": "io"}),
        app_with({"soft_time_limit": 30}),
        "batch_worker.pool: threads never raises the soft limit of shop.report",
    ),
    "cpu-in-one-process": Case(
        lambda: plan(batch={"pool": "threads", "soft_time_limit": None, "memory_per_slot": None}),
        APP,
        "batch_worker.pool: threads runs 100 cpu tasks on one core; write prefork, or workload io",
    ),
    "autoscale-range": Case(
        lambda: plan(batch={"concurrency": 4, "autoscale_min": 4}),
        APP,
        "batch_worker.autoscale_min: 4 is not below the concurrency of 4",
    ),
    "setting-of-prefork": Case(
        lambda: plan(web={"max_tasks_per_child": 500}),
        APP,
        "web_worker.max_tasks_per_child: 500 does nothing in gevent",
    ),
}


def test_every_rule_of_the_module_has_a_case() -> None:
    assert set(CASES) == rules_of(pools)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_reports_its_case(rule: str) -> None:
    assert_finds(rule, CASES[rule])
