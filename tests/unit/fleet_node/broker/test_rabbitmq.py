"""RabbitMQ behind the port, without a worker."""

from collections.abc import Iterator

import pytest
from celery import Celery

from fleet_node.app.unregistered import find
from fleet_node.broker import of
from tests.unit.rabbitmq_support import Vhost

pytestmark = pytest.mark.long


@pytest.fixture
def app(vhost: Vhost) -> Iterator[Celery]:
    app = Celery(broker=vhost.url, set_as_current=False)
    yield app
    app.close()


def test_tasks_that_wait_are_counted_and_not_looked_at(app: Celery) -> None:
    for _ in range(3):
        app.send_task("unknown", queue="q")
    assert find(app, ["q", "no such queue"]) == {"unregistered": {}, "looked_at": 0, "not_looked_at": 3}
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        assert of(connection).length(channel, "q") == 3
        assert not channel.basic_get("q").delivery_info["redelivered"]


def test_a_message_is_put_into_an_empty_queue_alone(app: Celery) -> None:
    with app.connection_for_write() as connection:
        broker, channel = of(connection), connection.default_channel
        channel.queue_declare("q", durable=True, auto_delete=False)
        for expected in (True, False):
            app.send_task("probe", queue=broker.own_queue("aside")[0], connection=connection)
            assert broker.to_the_head(channel, "aside", "q") is expected
        broker.delete_own_queue(channel, "aside")
        broker.delete_own_queue(channel, "aside")  # once more does no harm
        message = channel.basic_get("q")
        assert message.properties["application_headers"]["task"] == "probe"
