"""Rules about the broker."""

import pytest

from fleet.lint import broker
from tests.unit.fleet.lint.rules_support import APP, Case, app_with, assert_finds, findings_of, plan, rules_of

pytestmark = pytest.mark.usefixtures("app_folder")

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
        app_with(celery="5.7.0"),
        "shop.app: celery 5.7.0: a worker that holds tasks ends when its broker goes away",
    ),
    "hand-over": Case(
        plan,
        app_with(kombu="5.6.2"),
        "shop.app: kombu 5.6.2: a reset machine or a cut network may lose a task for each of its workers; pin 5.7.0",
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
