"""A worker that is lent out consumes what it is lent for, also when it has lost its broker, until the loan ends."""

from typing import Any

from celery import Celery

from tests.matrix.support import JOBS, Broker, ended, output, until
from tests.unit.process_support import Machine

NODE = "web-worker-1@test"


def test_a_loan_outlives_the_broker_and_ends_by_itself(here: Machine, broker: Broker) -> None:
    here.start(here.release("r", JOBS))
    with here.client() as client:
        assert until(lambda: client.control.ping([NODE], timeout=1)), output(here)
        assert lend(client, ["other"], 25)["ok"]["queues"] == ["other"]
        client.send_task("jobs.work", [1], queue="other")
        assert until(lambda: ended(here) == {1}), output(here)
    broker.stop()
    broker.start()
    with here.client() as client:
        client.send_task("jobs.work", [2], queue="other")
        assert until(lambda: ended(here) == {1, 2}), output(here)
        assert until(lambda: "no longer lent out" in output(here), 60), output(here)
        client.send_task("jobs.work", [3], queue="other")
        client.send_task("jobs.work", [4], queue="default")
        assert until(lambda: 4 in ended(here)), output(here)
    assert 3 not in ended(here)


def lend(client: Celery, queues: list[str], seconds: float) -> Any:
    """The worker's answer."""
    arguments = {"queues": queues, "seconds": seconds}
    replies = client.control.broadcast("fleet_lend", arguments=arguments, destination=[NODE], reply=True, timeout=5, limit=1)
    return replies[0][NODE]
