"""What a real Redis with real workers says of queues and workers."""

from pathlib import Path

import pytest

from fleet.broker.look import LookError, look
from tests.unit.fleet_node.delivery.lease_support import begun, leased, send, until


@pytest.mark.long
def test_queues_and_workers_are_seen(tmp_path: Path) -> None:
    with leased(tmp_path, lease=60) as here, here.client() as client, here.redis() as redis:
        here.start(here.release("r"), 1, ["default", "later"])
        send(client, 0, 60)
        send(client, 1, queue="later", countdown=600)
        assert until(lambda: 0 in begun(here) and redis.hlen("unacked") == 2)
        for number in range(3):
            send(client, number, queue="priority", priority=9 if number else 0)
        send(client, 9, queue="fleet.probe.1f2e")  # of a gate that was cut off
        redis.rpush("shop.cart", "no task", '{"headers": []}')
        view = look(f"redis://127.0.0.1:{here.port}/0")
        assert (view.waiting, view.held) == ({"priority": 3}, {"default": 1, "later": 1})
        assert (view.consumed, view.whole) == (("default", "later"), True)
        assert {node: sorted(queues) for node, queues in view.workers.items()} == {"web-worker-1@test": ["default", "later"]}


def test_a_broker_that_does_not_answer() -> None:
    with pytest.raises(LookError, match=r"refused"):
        look("redis://127.0.0.1:1/0")
