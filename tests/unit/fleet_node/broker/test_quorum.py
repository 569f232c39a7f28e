"""Which queues of an app a worker declares as quorum queues, and what it says of the others."""

from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue  # type: ignore[attr-defined]  # kombu's types are unfinished

from fleet_node.app.describe import describe
from fleet_node.broker import kind_of, of, quorum


def queue(**more: Any) -> Any:
    return Queue("q", Exchange("q"), "q", **more)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("declared", "kind", "why"),
    [
        (queue(), "quorum", ""),
        (queue(queue_arguments={"x-expires": 1000}), "quorum", ""),
        (queue(queue_arguments={"x-queue-type": "quorum"}), "quorum", ""),
        (queue(queue_arguments={"x-queue-type": "classic"}), "classic", "the app declares it as classic"),
        (queue(max_priority=9), None, "it has priorities"),
        (queue(queue_arguments={"x-max-priority": 9}), None, "it has priorities"),
        (queue(durable=False), None, "not durable"),
        (queue(auto_delete=True), None, "not durable"),
    ],
)
def test_a_queue_is_a_quorum_queue_unless_it_cannot_be(declared: Any, kind: str | None, why: str) -> None:
    app = Celery(set_as_current=False)
    app.conf.task_queues = [declared]
    said = list(quorum.declare(app))
    assert (app.amqp.queues["q"].queue_arguments or {}).get("x-queue-type") == kind
    assert (why in said[0]) if why else said == []


def test_a_queue_that_is_made_when_it_is_named_is_one_too() -> None:
    app = Celery(set_as_current=False)
    assert list(quorum.declare(app)) == []
    app.amqp.queues.select(["later"])
    assert app.amqp.queues["later"].queue_arguments == {"x-queue-type": "quorum"}


def test_an_app_says_how_it_declares_its_queues() -> None:
    app = Celery(set_as_current=False)
    topic = Exchange("t", type="topic")  # type: ignore[no-untyped-call]
    other = Queue("t", topic, queue_arguments={"x-queue-type": "quorum"})  # type: ignore[no-untyped-call]
    app.conf.task_queues = [queue(max_priority=9), other]
    assert describe(app, "app")["declared"] == [
        {
            "name": "q",
            "kind": "classic",
            "exchange": "direct",
            "exchange_name": "q",
            "key": "q",
            "durable": True,
            "priorities": True,
        },
        {
            "name": "t",
            "kind": "quorum",
            "exchange": "topic",
            "exchange_name": "t",
            "key": "celery",
            "durable": True,
            "priorities": False,
        },
    ]


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://", "redis"),
        ("rediss://", "redis"),
        ("sentinel://h:1;sentinel://h:2", "redis"),
        ("amqp://", "amqp"),
        ("amqps://u:p@h//", "amqp"),
        ("pyamqp://", "amqp"),
    ],
)
def test_brokers_are_told_apart_by_their_urls(url: str, kind: str) -> None:
    assert kind_of(Celery(broker=url, set_as_current=False).connection_for_write()) == kind


def test_another_broker_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'memory' is not known to the fleet: use redis://"):
        of(Celery(broker="memory://", set_as_current=False).connection_for_write())
