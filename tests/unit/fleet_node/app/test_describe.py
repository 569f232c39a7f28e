"""What is said of an app: its queues, and the defects of its versions."""

from celery import Celery
from kombu import Queue  # type: ignore[attr-defined]  # kombu's types are unfinished

from fleet_node.app.describe import describe, patches_of


def test_the_delivery_of_the_newest_version_that_was_tried_is_mended_and_that_of_a_later_one_is_not() -> None:
    def delivery(version: str) -> list[bool]:
        return [patch["mended"] for patch in patches_of(version, version) if patch["name"] == "delivery"]

    assert (delivery("5.7.0"), delivery("5.8.0"), delivery("6.0.0")) == ([True], [False], [False])


def test_queues_that_name_no_exchange_share_the_default_one() -> None:
    app = Celery(set_as_current=False)
    app.conf.update(task_default_exchange_type="topic", task_default_queue="a", task_queues=[Queue("a"), Queue("b")])  # type: ignore[no-untyped-call]
    bound = {queue["name"]: (queue["exchange"], queue["exchange_name"], queue["key"]) for queue in describe(app, "x")["declared"]}
    assert bound == dict.fromkeys("ab", ("topic", "a", "a"))
