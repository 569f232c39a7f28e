"""What a real RabbitMQ with real workers says of queues and workers, by AMQP alone."""

import time
from pathlib import Path

import pytest
from amqp import Message

from fleet.broker.look import LookError, look
from fleet.broker.management import Management
from fleet.broker.port import AwayError, opened
from fleet.broker.rabbitmq import connected
from fleet_node.protocol import DEAD_LETTERS
from tests.unit.fleet_node.broker.rabbitmq_machine import QUEUES, producer, rabbit_machine
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.rabbitmq_support import Vhost, rabbitmq, vhost

__all__ = ["rabbitmq", "vhost"]
APP = """
import time
@app.task(name="work")
def work(seconds): time.sleep(seconds)
"""


@pytest.mark.long
def test_queues_and_workers_are_seen(vhost: Vhost, tmp_path: Path) -> None:
    with rabbit_machine(tmp_path, vhost, "threads") as here, producer(here) as client:
        here.start(here.release("r", APP + QUEUES))
        for _ in range(6):
            client.send_task("work", [60])
        with opened(vhost.url) as port:
            assert until(lambda: port.length("default") == 2)
            client.send_task("work", [0], queue="nobody")
            assert until(lambda: port.length("nobody") == 1)
        view = look(vhost.url, ["default", "nobody", "no such queue"])
        assert (view.waiting, view.held) == ({"default": 2, "nobody": 1}, {"default": 4})
        assert view.workers == {"web-worker-1@test": ("default",)}
        assert (view.consumed, view.whole) == (("default",), False), "other queues are not known"
        client.send_task("work", [0], queue="left by a role")
        assert until(lambda: (vhost.queues().get("left by a role") or {}).get("messages"))
        view = look(vhost.url, ["default"], management=Management(vhost.node.management, "guest", "guest"))
        assert (view.waiting, view.whole) == ({"default": 2, "nobody": 1, "left by a role": 1}, True)


@pytest.mark.long
def test_a_letter_that_rabbitmq_itself_has_given_up(vhost: Vhost) -> None:
    """It came back more often than the policy allows. Sent again, it is as it was."""
    policy = {"delivery_limit": 1, "dead_letter_exchange": "", "dead_letter_routing_key": DEAD_LETTERS}
    vhost.policy("fleet", "^default$", **policy)
    with connected(vhost.url, 10) as connection:
        channel = connection.channel()
        for queue in ("default", DEAD_LETTERS):
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        headers = {"id": "1f9d", "task": "work", "argsrepr": "(1,)", "compression": "application/x-gzip"}
        channel.basic_publish(Message("x", application_headers=headers, correlation_id="1f9d"), routing_key="default")

        def come_back() -> None:
            if message := channel.basic_get("default"):
                channel.basic_reject(message.delivery_tag, requeue=True)

        with opened(vhost.url) as port:
            assert until(lambda: come_back() or port.letters())  # type: ignore[func-returns-value]
            (letter,) = port.letters()
            assert (letter["id"], letter["task"], letter["args"], letter["queue"]) == ("1f9d", "work", "(1,)", "default")
            assert (letter["worker"], letter["reason"]) == ("RabbitMQ", "RabbitMQ gave it up: delivery_limit")
            assert abs(letter["at"] - time.time()) < 600
            assert port.requeue([letter, letter]) == 1
            assert port.letters() == []
        messages = []
        assert until(lambda: messages.append(channel.basic_get("default", no_ack=True)) or messages[-1])  # type: ignore[func-returns-value]
        assert messages[-1].properties["application_headers"] == {**headers, "x-delivery-count": 0}


@pytest.mark.long
def test_a_broker_that_does_not_answer(vhost: Vhost) -> None:
    with pytest.raises(LookError, match=r"refused"):
        look("amqp://127.0.0.1:1/")
    with (
        pytest.raises(AwayError, match="RabbitMQ refuses the user or the password"),
        opened(vhost.url.replace(":guest@", ":no@")),
    ):
        pass


@pytest.mark.long
@pytest.mark.parametrize("exclusive", [True, False])
def test_whether_a_worker_is_connected(vhost: Vhost, tmp_path: Path, exclusive: bool) -> None:
    """Earlier versions of Celery have a queue for remote control that is not of one connection alone."""
    node = "web-worker-1@test"
    with rabbit_machine(tmp_path, vhost, "threads") as here, opened(vhost.url) as port:
        assert port.present([node]) == {node: False}
        here.start(here.release("r", f"app.conf.control_queue_exclusive = {exclusive}\n"))
        assert until(lambda: port.present([node, "other@test"]) == {node: True, "other@test": False})
        here.end()
        assert until(lambda: port.present([node]) == {node: False})
