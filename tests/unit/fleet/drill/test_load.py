"""A drill's load, on a real Redis and a real worker."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleet.drill.load import Kind, Producer
from fleet_node.protocol import DRILL_ANNOUNCED, DRILL_LEDGER, DRILL_TTL
from tests.unit.fleet_node.patches.test_patches import until
from tests.unit.process_support import Machine, machine

KINDS = (Kind("io", 0.01, ("default",), every=0.1),)


def producer(here: Machine) -> Producer:
    return Producer(f"redis://127.0.0.1:{here.port}/0", KINDS)


def test_workers_have_the_tasks_of_a_drill_until_all_have_ended(tmp_path: Path) -> None:
    with machine(tmp_path) as here, here.reading() as redis:
        redis.delete(DRILL_ANNOUNCED)
        here.start(here.release("r"))
        with producer(here) as sending:
            assert redis.smembers(DRILL_ANNOUNCED) == {sending.run}
            assert 0 < redis.ttl(DRILL_ANNOUNCED) <= DRILL_TTL
            assert until(lambda: len(here.entries(sending.run)) >= 4), here.output()
            sending.stop()
            sending.wait_until_finished(20)
        assert not redis.exists(DRILL_ANNOUNCED)
        assert redis.hlen("fleet.parked") == 0


def test_a_drill_that_is_cut_off_leaves_its_tasks_time_to_end(tmp_path: Path) -> None:
    with machine(tmp_path) as here, here.reading() as redis:
        with producer(here) as sending:
            assert until(lambda: len(sending.sent) >= 2)
        assert redis.sismember(DRILL_ANNOUNCED, sending.run)
        assert redis.ttl(DRILL_ANNOUNCED) > 0


def test_a_task_that_is_not_of_the_account_does_not_end_the_drill(tmp_path: Path) -> None:
    """As one whose sending failed, and that ran nevertheless."""
    with machine(tmp_path) as here, here.redis() as redis, producer(here) as sending:
        assert until(lambda: len(sending.sent) >= 2)
        sending.stop()
        numbers = {task.number for task in sending.sent}
        for number in numbers:
            redis.rpush(f"{DRILL_LEDGER}{sending.run}", json.dumps([1000 + number, "end", 1.0, "web-worker-1@test"]))
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(sending.wait_until_finished, 60)
            here.start(here.release("r"))
            waiting.result()
        assert {number for number, event, _, _ in sending.entries() if event == "end"} >= numbers
