"""Rules about delivery."""

import pytest

from fleet.lint import delivery
from tests.unit.fleet.lint.rules_support import APP, Case, app_with, assert_finds, plan, rules_of

pytestmark = pytest.mark.usefixtures("app_folder")

CASES = {
    "early-ack": Case(
        lambda: plan(left_to_app=["task_acks_late"]),
        app_with({"acks_late": False}),
        "shop.app: task_acks_late: not for shop.report",
    ),
    "late-ack": Case(plan, app_with({"acks_late": False}), "shop.app: task_acks_late: set for shop.report"),
    "at-most-once-unknown": Case(
        lambda: plan(at_most_once=["shop.pay*"]), APP, "at_most_once: shop.pay*: shop.app has no such task"
    ),
    "reject-on-worker-lost": Case(
        lambda: plan(left_to_app=["task_reject_on_worker_lost"]),
        app_with({"reject_on_worker_lost": False}),
        "shop.app: task_reject_on_worker_lost: not for shop.report, which have acks_late",
    ),
    "long-prefetch": Case(
        lambda: plan(batch={"prefetch": 4}),
        APP,
        "batch_worker.prefetch: 4: a task may wait 900 s behind 3 × 300 s while another worker is idle",
    ),
    "cold-stop": Case(
        lambda: plan(web={"environment": {"REMAP_SIGTERM": "SIGQUIT"}}),
        APP,
        "web_worker.environment.REMAP_SIGTERM: SIGQUIT: a stop of gevent would drop what it runs",
    ),
}


def test_every_rule_of_the_module_has_a_case() -> None:
    assert set(CASES) == rules_of(delivery)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_reports_its_case(rule: str) -> None:
    assert_finds(rule, CASES[rule])
