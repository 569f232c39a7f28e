"""Rules about time limits and the visibility timeout."""

import pytest

from fleet.lint import lint
from fleet.lint import time as time_rules
from fleet.lint.app import DELIVERY, AppPatch
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
        lambda: plan(batch={"longest_eta": 7200}, visibility_timeout=3600, lease=None),
        APP,
        "visibility_timeout: 3600 is not above the 7680 s that a worker of batch may hold a task (time_limit 300 + longest_eta "
        "7200 + retry_delay 180); write more than 7680",
    ),
    "visibility-places": Case(
        lambda: plan(visibility_timeout="app", lease=None),
        app_with(settings={"broker_transport_options": {"visibility_timeout": 7200}}),
        "shop.app: result_backend_transport_options.visibility_timeout: 3600, and 7200 in broker_transport_options",
    ),
    "visibility-below-lease": Case(
        plan,
        app_with(settings={"broker_transport_options": {"visibility_timeout": 30}}),
        "shop.app: broker_transport_options.visibility_timeout: 30 is shorter than the lease of 60 s, so that consumers outside "
        "the fleet would take tasks that its workers run; write 60 or more, or leave it out, for Celery's own 3600",
    ),
    "task-time-limit": Case(
        plan,
        app_with({"time_limit": 900}),
        "batch_worker.time_limit: 300 is less than the 900 that the app gives shop.report: those may run for 900 s, and "
        "a stop would wait 360 s for them; write 900",
    ),
    "task-soft-limit": Case(
        plan,
        app_with({"soft_time_limit": 300}),
        "batch_worker.soft_time_limit: 300 (the app's) is not below time_limit 300 (the role's), for shop.report",
    ),
    "task-retry-delay": Case(
        lambda: plan(lease=None),
        app_with({"retry_delay": 3600}),
        "batch_worker.retry_delay: 180 is less than the 3600 of shop.report",
    ),
}


def test_every_rule_of_the_module_has_a_case() -> None:
    assert set(CASES) == rules_of(time_rules)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_reports_its_case(rule: str) -> None:
    assert_finds(rule, CASES[rule])


OF_NO_LEASE = ("visibility-timeout", "visibility-places", "task-retry-delay")
"""Rules that matter if tasks come back by the visibility timeout."""


LEASE = AppPatch(name=DELIVERY, mends="what a dead worker held waits for the visibility timeout", mended=True)
"""What the app's versions need, so that its workers can have a lease."""


@pytest.mark.parametrize("rule", OF_NO_LEASE)
def test_visibility_timeout_eta_and_retries_do_not_matter_with_a_lease(rule: str) -> None:
    case = CASES[rule]
    settings = case.make_plan().fleet.settings
    leased = plan(batch={"longest_eta": 7200}, visibility_timeout=settings.visibility_timeout)
    assert findings_of(rule, leased, case.app.model_copy(update={"patches": (LEASE,)})) == []


@pytest.mark.parametrize("patches", [(), (LEASE.model_copy(update={"mended": False}),)])
def test_they_matter_if_the_apps_versions_can_have_no_lease(patches: tuple[AppPatch, ...]) -> None:
    leased = plan(batch={"longest_eta": 7200}, visibility_timeout=3600)
    assert findings_of("visibility-timeout", leased, app_with(patches=(LEASE,))) == []
    (finding,) = findings_of("visibility-timeout", leased, app_with(patches=patches))
    assert str(finding).startswith("visibility_timeout: 3600 is not above the 7680 s")


def test_a_visibility_timeout_of_the_fleet_below_the_lease_is_refused() -> None:
    (finding,) = findings_of("visibility-below-lease", plan(visibility_timeout=90, lease=120))
    assert str(finding).startswith("visibility_timeout: 90 is shorter than the lease of 120 s")
    assert findings_of("visibility-below-lease", plan(visibility_timeout=90)) == []
    assert findings_of("visibility-below-lease", plan(visibility_timeout="app"), app_with()) == []


def test_an_automatic_visibility_timeout_is_longer_than_any_worker_holds_a_task() -> None:
    automatic = plan(batch={"longest_eta": 86400, "prefetch": 2}, lease=None)
    assert automatic.visibility_timeout == 2 * 300 + 86400 + 180 + 60
    assert findings_of("visibility-timeout", automatic) == []


def test_with_a_lease_an_automatic_visibility_timeout_is_not_below_celerys_own() -> None:
    """Consumers without a lease keep it: a worker of an earlier release must not take what another one of them runs."""
    assert plan(lease=None).visibility_timeout == 600 + 180 + 60
    assert plan().visibility_timeout == 3600
    assert (
        plan(batch={"longest_eta": 86400}).visibility_timeout == plan(batch={"longest_eta": 86400}, lease=None).visibility_timeout
    )


def test_the_apps_own_timeout_is_not_judged_without_the_app() -> None:
    left_to_app = plan(batch={"time_limit": 7200}, visibility_timeout="app", lease=None)
    assert lint(left_to_app) == ()
    assert [finding.rule for finding in lint(left_to_app, (APP,)) if finding.level == "error"] == ["visibility-timeout"]
