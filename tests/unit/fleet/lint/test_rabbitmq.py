"""Rules about RabbitMQ, and rules of Redis that do not fire for it."""

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from fleet.lint import RULES, lint, report
from fleet.lint import rabbitmq as rabbitmq_rules
from fleet.lint.app import App, AppQueue, AppScheduler
from fleet.plan.plan import Plan, resolved
from fleet.spec.broker import External
from tests.unit.fleet.lint.rules_support import APP, Case, app_with, assert_finds, findings_of, plan, rules_of
from tests.unit.fleet_support import MACHINE

pytestmark = pytest.mark.usefixtures("app_folder")


def quorum(*names: str, **more: Any) -> tuple[AppQueue, ...]:
    return tuple(AppQueue(**{"name": name, "kind": "quorum", "exchange": "topic", **more}) for name in names)


CONFIRMED = {"broker_transport_options": {"confirm_publish": True}}
GOOD = APP.model_copy(update={"declared": quorum("default", "batch"), "settings": CONFIRMED, "amqp": "5.4.2"})


def rabbit(broker: dict[str, Any] | None = None, result_backend: str = "@RESULT_URL", **more: Any) -> Plan:
    """The fleet with a RabbitMQ of its own."""
    return plan(broker={"kind": "rabbitmq", **(broker or {})}, result_backend=result_backend, **more)


def external(scheme: str = "amqps", **more: Any) -> Plan:
    """The fleet with a RabbitMQ of others."""
    fleet = rabbit(**more).fleet
    fleet = replace(fleet, broker=External(url="@BROKER_URL"), broker_host=None, external_scheme=scheme)
    return resolved(fleet, dict.fromkeys(fleet.hosts, MACHINE))


def good(**fields: Any) -> App:
    """The app, with other fields."""
    return GOOD.model_copy(update=fields)


CASES = {
    "redis-setting": Case(lambda: rabbit(lease=30), GOOD, "lease: 30 is of Redis, and the broker is a RabbitMQ; leave it out"),
    "redis-options": Case(
        rabbit,
        good(settings={"broker_transport_options": {"visibility_timeout": 60, "confirm_publish": True}}),
        "shop.app: broker_transport_options: visibility_timeout: of Redis, and ignored",
    ),
    "queue-not-quorum": Case(rabbit, good(declared=quorum("default")), "shop.app: task_queues: batch: classic for producers"),
    "queue-priorities": Case(
        rabbit,
        good(declared=quorum("default", "batch", priorities=True)),
        "shop.app: task_queue_max_priority: batch, default: a quorum queue has no priorities",
    ),
    "eta-held": Case(
        lambda: rabbit(batch={"longest_eta": 600}),
        good(declared=(*quorum("default"), *quorum("batch", exchange="direct"))),
        "batch_worker.longest_eta: 600 s, and a direct exchange leads to batch",
    ),
    "consumer-timeout": Case(
        lambda: rabbit({"consumer_timeout": 300}),
        GOOD,
        "broker.consumer_timeout: 300 is not above the 780 s that a worker may hold a task",
    ),
    "consumer-timeout-unknown": Case(
        lambda: external(batch={"time_limit": 7200}),
        GOOD,
        "broker.url: a worker may hold a task for 7380 s, and RabbitMQ takes it back after 1800 s unless",
    ),
    "confirm-publish": Case(rabbit, good(settings={}), "shop.app: broker_transport_options: producers do not learn of tasks"),
    "green-tls": Case(
        lambda: rabbit({"tls": True}, web={"pool": "gevent"}), GOOD, "web_worker.pool: gevent, and the broker has TLS"
    ),
    "amqp-version": Case(rabbit, good(amqp="5.3.1"), "shop.app: amqp 5.3.1: threads of a worker may break its connection"),
    "drill-without-redis": Case(
        lambda: rabbit(result_backend="none"), GOOD, 'result_backend: "none": `fleet drill` needs a Redis of results'
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_rule_finds_its_case(name: str) -> None:
    assert_finds(name, CASES[name])


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == rules_of(rabbitmq_rules)


def test_a_good_fleet_breaks_none_of_them() -> None:
    for good_plan in (rabbit(), external("amqp")):
        about = {finding.rule for finding in lint(good_plan, (GOOD,)) if finding.level != "note"}
        assert not about & rules_of(rabbitmq_rules), about


def test_none_of_them_is_about_redis() -> None:
    assert not {finding.rule for finding in lint(plan(), (APP,))} & rules_of(rabbitmq_rules)


OF_REDIS = {"visibility-timeout", "visibility-places", "visibility-below-lease", "task-retry-delay", "connections-broker"}


def test_rules_of_redis_do_not_fire() -> None:
    asking = good(settings={"broker_transport_options": {"visibility_timeout": 1}, "visibility_timeout": 2})
    broken = app_with({"retry_delay": 9000}).model_copy(update={"settings": asking.settings})
    for rabbit_plan in (rabbit(), external()):
        fired = {finding.rule for app in (asking, broken) for finding in lint(rabbit_plan, (app,))}
        assert not fired & OF_REDIS
    assert set(RULES) >= OF_REDIS


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"celery": "5.4.0"}, "Celery 5.4.0 has its workers hold them: deploy 5.5 or later"),
        ({"settings": {**CONFIRMED, "worker_detect_quorum_queues": False}}, "worker_detect_quorum_queues is False"),
    ],
)
def test_why_workers_hold_tasks_with_an_eta(fields: dict[str, Any], why: str) -> None:
    (finding,) = findings_of("eta-held", rabbit(batch={"longest_eta": 600}), good(**fields))
    assert f"600 s, and {why}" in str(finding)
    assert not findings_of("eta-held", rabbit(batch={"longest_eta": 600}), GOOD)


def test_celery_5_5_makes_queues_that_nobody_names_as_classic_ones() -> None:
    settings = {**CONFIRMED, "task_create_missing_queue_type": "quorum"}
    app = good(declared=quorum("default"), settings=settings, celery="5.5.3")
    (finding,) = findings_of("queue-not-quorum", rabbit(), app)
    assert "task_queues: batch: classic" in str(finding)
    assert "name them in task_queues" in str(finding)
    assert not findings_of("queue-not-quorum", rabbit(), app.model_copy(update={"celery": "5.6.3"}))


def test_classic_queues_that_workers_declare_too_are_called_what_they_are() -> None:
    plan = rabbit(left_to_app=["task_default_queue_type"])
    (finding,) = findings_of("queue-not-quorum", plan, good(declared=quorum("default")))
    assert "task_queues: batch: classic queues, and gone with their node; " in str(finding)


def test_defects_are_those_of_the_broker() -> None:
    described = {"name": "x", "mends": "it", "mended": False, "advice": "do not"}
    app = App.model_validate({**GOOD.model_dump(), "patches": [{**described, "brokers": ["amqp"]}]})
    assert findings_of("unmended-defect", rabbit(), app)
    assert not findings_of("unmended-defect", plan(), app)


def test_two_beats_have_no_lock() -> None:
    two = rabbit()
    two = replace(two, fleet=replace(two.fleet, beat_hosts=("web1", "web2")))
    (finding,) = findings_of("beat-without-lock", two, good(scheduler=AppScheduler(name="celery.beat:PersistentScheduler")))
    assert "the broker is no Redis" in str(finding)


@pytest.mark.parametrize(("make", "timeout"), [(rabbit, "1800 s"), (external, "not known")])
def test_lint_says_when_tasks_come_back(make: Callable[[], Plan], timeout: str) -> None:
    output = StringIO()
    report.show(make(), (), Console(file=output, width=200), verbose=False, strict=False)
    printed = output.getvalue()
    assert f"when its connection ends; consumer_timeout: {timeout}\n" in printed
    assert "visibility timeout" not in printed


def test_memory_of_rabbitmq() -> None:
    (finding,) = findings_of("broker-memory", rabbit({"memory": "90%"}), GOOD)
    assert str(finding).startswith("broker.memory: ")
