"""Rules about the app's own settings."""

import pytest

from fleet.lint import application
from fleet.lint.app import AppQueue
from tests.unit.fleet.lint.rules_support import Case, app_with, assert_finds, plan, rules_of

pytestmark = pytest.mark.usefixtures("app_folder")

CASES = {
    "app-eager": Case(plan, app_with(settings={"task_always_eager": True}), "shop.app: task_always_eager: True"),
    "app-remote-control": Case(
        plan,
        app_with(settings={"worker_enable_remote_control": False}),
        "shop.app: worker_enable_remote_control: False: a rollout could not ask its workers",
    ),
    "app-events": Case(plan, app_with(settings={"worker_send_task_events": True}), "shop.app: worker_send_task_events: True"),
    "shared-binding": Case(
        plan,
        app_with(
            declared=tuple(
                AppQueue(name=name, exchange="topic", exchange_name="default", key=key)
                for name, key in (("default", "default"), ("batch", "default"), ("other", "other"))
            )
        ),
        "shop.app: task_queues: batch, default: each task of one of them goes to all, which share the topic exchange default",
    ),
    "app-overruled": Case(
        plan,
        app_with(settings={"worker_concurrency": 16}),
        "shop.app: worker_concurrency: 16, and the workers of web get 100 by flag, which wins",
    ),
    "app-broker-read": Case(
        plan,
        app_with(settings={"broker_read_url": "redis://old:6379"}),
        "shop.app: broker_read_url: redis://old:6379 goes before the fleet's own broker",
    ),
    "app-broker": Case(
        plan,
        app_with(broker="redis://localhost:6379"),
        "shop.app: broker_url: redis://localhost:6379; workers get redis://10.0.0.10:6379",
    ),
}


def test_every_rule_of_the_module_has_a_case() -> None:
    assert set(CASES) == rules_of(application)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_reports_its_case(rule: str) -> None:
    assert_finds(rule, CASES[rule])
