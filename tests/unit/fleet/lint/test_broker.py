"""Rules about the broker."""

import pytest

from fleet.lint import broker
from fleet.lint.app import App, AppPatch
from fleet.plan.plan import Plan
from fleet_node.app import describe
from tests.unit.fleet.lint.rules_support import APP, Case, app_with, assert_finds, findings_of, plan, rules_of

pytestmark = pytest.mark.usefixtures("app_folder")


def app_on(celery: str, kombu: str) -> App:
    """The app with these versions, and with its description of their defects."""
    patches = tuple(AppPatch.model_validate(patch) for patch in describe.patches_of(celery, kombu))
    return app_with(celery=celery, kombu=kombu, patches=patches)


CASES = {
    "broker-eviction": Case(
        lambda: plan(broker={"maxmemory_policy": "allkeys-lru"}),
        APP,
        "broker.maxmemory_policy: allkeys-lru throws tasks away",
    ),
    "broker-persistence": Case(
        lambda: plan(broker={"appendonly": False}), APP, "broker.appendonly: False: a restart of Redis loses"
    ),
    "broker-url": Case(
        lambda: plan(environment={"CELERY_BROKER_URL": "valkey://10.0.0.9:6379"}),
        APP,
        "environment.CELERY_BROKER_URL: valkey:// is unknown to Celery; for a Valkey write redis://",
    ),
    "known-defect": Case(
        plan,
        app_on("5.7.0", "5.7.0"),
        "shop.app: celery 5.7.0, kombu 5.7.0: a worker that holds tasks ends when its broker goes away",
    ),
    "untried-version": Case(
        plan,
        app_with(untried=("celery 5.8.0: newer than any that was tried (5.3 to 5.7)",)),
        "shop.app: celery 5.8.0: newer than any that was tried (5.3 to 5.7): workers run it as it is, and without the "
        "lease; pin one that was tried",
    ),
    "unmended-defect": Case(
        plan,
        app_on("5.2.7", "5.2.4"),
        "shop.app: celery 5.2.7, kombu 5.2.4: a reset machine or a cut network may lose a task for each of its workers",
    ),
}


def test_every_rule_of_the_module_has_a_case() -> None:
    assert set(CASES) == rules_of(broker)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_reports_its_case(rule: str) -> None:
    assert_finds(rule, CASES[rule])


def test_a_broker_among_the_secrets_is_found() -> None:
    (finding,) = findings_of("broker-url", plan(web={"secrets": ["CELERY_BROKER_URL"]}))
    assert str(finding).startswith("web_worker.secrets: CELERY_BROKER_URL goes before the fleet's own broker")


def text_of(rule: str, fleet: Plan, celery: str, kombu: str) -> str:
    return "\n".join(map(str, findings_of(rule, fleet, app_on(celery, kombu))))


def test_a_mended_defect_is_a_note_and_an_unmended_one_a_warning() -> None:
    lost = "a reset machine or a cut network may lose a task"
    assert lost in text_of("known-defect", plan(), "5.7.0", "5.7.0")
    assert text_of("unmended-defect", plan(), "5.7.0", "5.7.0") == ""
    assert lost in text_of("unmended-defect", plan(), "5.2.7", "5.2.4")
    assert "celery#10242" in text_of("unmended-defect", plan(), "5.7.0", "5.6.2")
    assert "celery#10242" not in text_of("unmended-defect", plan(), "5.6.2", "5.6.2")


def test_a_defect_of_a_pool_concerns_fleets_with_that_pool() -> None:
    app = app_with(patches=(AppPatch(name="late", mends="a free slot is noticed late", mended=True, pools=("gevent",)),))
    assert findings_of("known-defect", plan(web={"pool": "threads"}), app) == []
    assert len(findings_of("known-defect", plan(web={"pool": "gevent"}), app)) == 1
