"""A node of RabbitMQ that is killed under load and comes back: no task is lost, and workers are as before."""

import json
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.matrix.support import begun, ended, output, until
from tests.unit.fleet_node.broker.rabbitmq_machine import APP, NODE, UNIT, producer, rabbit_machine, waiting
from tests.unit.process_support import pools
from tests.unit.rabbitmq_support import running_node

CONCURRENCY = 4


@pytest.mark.slow
@pools("prefork", "threads")
def test_a_node_that_is_killed_loses_no_task(tmp_path: Path, pool: str) -> None:
    (tmp_path / "machine").mkdir()
    with ExitStack() as stack:
        node = stack.enter_context(running_node(tmp_path / "rabbitmq"))
        vhost = stack.enter_context(node.vhost())
        here = stack.enter_context(rabbit_machine(tmp_path / "machine", vhost, pool))
        client = stack.enter_context(producer(here))
        here.start(here.release("r", APP))
        for number in range(3 * CONCURRENCY):
            client.send_task("jobs.work", [number, 0.5])
        assert until(lambda: len(begun(here)) >= CONCURRENCY), output(here)
        node.stop(signal.SIGKILL)
        assert until(lambda: "onnection to broker lost" in here.output()), output(here)
        node.start()

        def is_back() -> bool:
            try:
                return bool(client.control.ping([NODE], timeout=1))
            except OSError:  # a connection of before
                return False

        assert until(is_back), output(here)
        client.send_task("jobs.work", [99])
        assert until(lambda: ended(here) == {*range(3 * CONCURRENCY), 99}), output(here)
        assert until(lambda: waiting(vhost) == 0)
        again = [number for number, times in begun(here).items() if times > 1]
        assert len(again) <= CONCURRENCY  # RabbitMQ gives others, and this worker, what ran when the connection ended
        here.stop([UNIT])
        assert json.loads((here.runtime(UNIT) / "drain.json").read_text())["outcome"] == "idle"
