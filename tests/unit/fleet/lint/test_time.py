"""Rules about time limits and the visibility timeout."""

import pytest

from fleet.lint import lint
from fleet.lint import time as time_rules
from tests.unit.fleet.lint.rules_support import APP, Case, app_with, assert_finds, findings_of, plan, rules_of

pytestmark = pytest.mark.usefixtures("app_folder")

CASES = {
    "soft-limit": Case(
        lambda: plan(batch={"soft_time_limit": 300}),
        APP,
        "batch_worker.soft_time_limit: 300 is not below time_limit 300",
    ),
    "stop-timeout": Case(
        lambda: plan(batch={"stop_timeout": 90}), APP, "batch_worker.stop_timeout: 90 is not above time_limit 300"
    ),
    "drain-timeout": Case(
        lambda: plan(batch={"drain_timeout": 400}),
        APP,
        "batch_worker.drain_timeout: 400 is not below stop_timeout 360; leave it out",
    ),
    "limit-not-enforced": Case(
        lambda: plan(web={"pool": "threads", "time_limit": 50}),
        APP,
        "web_worker.time_limit: threads does not enforce 50",
    ),
    "visibility-timeout": Case(
        lambda: plan(batch={"longest_eta": 7200}, visibility_timeout=3600),
        APP,
        "visibility_timeout: 3600 is not above the 7680 s that a worker of batch may hold a task (time_limit 300 + longest_eta "
        "7200 + retry_delay 180); write more than 7680",
    ),
    "visibility-places": Case(
        lambda: plan(visibility_timeout="app"),
        app_with(settings={"broker_transport_options": {"visibility_timeout": 7200}}),
        "shop.app: result_backend_transport_options.visibility_timeout: 3600, and 7200 in broker_transport_options",
    ),
    "task-time-limit": Case(
        plan,
        app_with({"time_limit": 900}),
        "batch_worker.time_limit: 300 is less than the 900 that the app gives shop.report, which goes before it, and the "
        "stop and visibility timeouts are made from it; write 900",
    ),
    "task-soft-limit": Case(
        plan,
        app_with({"soft_time_limit": 300}),
        "batch_worker.soft_time_limit: 300 (the app's) is not below time_limit 300 (the role's), for shop.report",
    ),
    "task-retry-delay": Case(
        plan,
        app_with({"retry_delay": 3600}),
        "batch_worker.retry_delay: 180 is less than the 3600 of shop.report",
    ),
}


def test_every_rule_of_the_module_has_a_case() -> None:
    assert set(CASES) == rules_of(time_rules)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_reports_its_case(rule: str) -> None:
    assert_finds(rule, CASES[rule])


def test_an_automatic_visibility_timeout_is_longer_than_any_worker_holds_a_task() -> None:
    automatic = plan(batch={"longest_eta": 86400, "prefetch": 2})
    assert automatic.visibility_timeout == 2 * 300 + 86400 + 180 + 60
    assert findings_of("visibility-timeout", automatic) == []


def test_the_apps_own_timeout_is_not_judged_without_the_app() -> None:
    left_to_app = plan(batch={"time_limit": 7200}, visibility_timeout="app")
    assert lint(left_to_app) == ()
    assert [finding.rule for finding in lint(left_to_app, (APP,)) if finding.level == "error"] == ["visibility-timeout"]
