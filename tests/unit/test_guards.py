"""Defects that are mended in the worker: each shows without its guard, and does not with it."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.process_support import Machine, machine
from tests.unit.shop_support import PATIENCE, answering, free_port, process

UNGUARDED = "from fleet_node import guards\nguards.GUARDS.clear()\n"
BOTH = pytest.mark.parametrize("more", ["", pytest.param(UNGUARDED, marks=pytest.mark.slow)], ids=["guarded", "as it is"])


def until(what: Callable[[], object], seconds: float = PATIENCE) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.05)
    return False


@contextmanager
def redis_with_a_file(folder: Path, port: int) -> Iterator[None]:
    command = [
        "redis-server",
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--appendonly",
        "yes",
        "--dir",
        str(folder),
        "--notify-keyspace-events",
        "Kl",
    ]
    with process(command, folder / "redis.log"):  # ended also where a test fails
        answering(port)
        yield


def ended(here: Machine) -> set[int]:
    return {number for number, what, _, _ in here.entries("r") if what == "end"}


@BOTH
def test_a_worker_with_tasks_survives_that_its_broker_goes_away(tmp_path: Path, more: str) -> None:
    port = free_port()
    here = Machine(tmp_path, port, pool="prefork")
    try:
        with redis_with_a_file(tmp_path, port), here.client() as client:
            worker = here.start(here.release("r", more))
            for number in range(3):
                client.send_task("fleet.drill", ["r", number, "io", 5], queue="default")
            assert until(lambda: len(here.entries("r")) == 3)
        assert until(lambda: "Connection to broker lost" in here.said())
        with redis_with_a_file(tmp_path, port), here.client() as client:
            if more:
                assert until(lambda: "object has no attribute 'hostname'" in here.said()), "the defect is gone: delete its guard"
                assert worker.wait(PATIENCE) != 0
                return
            client.send_task("fleet.drill", ["r", 3, "io", 0], queue="default")
            assert until(lambda: ended(here) == {0, 1, 2, 3}), here.said()
            assert worker.poll() is None
    finally:
        here.end()


@BOTH
def test_a_gevent_worker_gives_back_what_a_dead_one_held(tmp_path: Path, more: str) -> None:
    options = {"visibility_timeout": 4, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    with machine(tmp_path) as here, here.client() as client:
        here.pool = "gevent"
        here.more["FLEET_CELERY"] = json.dumps({"broker_transport_options": options})
        release = here.release("r", more)
        first = here.start(release)
        client.send_task("fleet.drill", ["r", 1, "io", 2], queue="default")
        assert until(lambda: len(here.entries("r")) == 1)
        first.kill()
        first.wait()
        here.start(release, 2)
        # Without its guard nothing happens, for ever; twice the time that it takes with it is looked at.
        assert until(lambda: ended(here) == {1}, PATIENCE if not more else 16) == (not more), (
            "the defect is gone: delete its guard"
        )


def test_a_gevent_worker_with_no_free_slot_listens_and_goes_on(tmp_path: Path) -> None:
    """How much sooner with its guard than without is benchmarks/green.py's."""
    with machine(tmp_path) as here, here.client() as client:
        here.pool, here.concurrency = "gevent", 2
        here.start(here.release("r"))
        for number in range(10):
            client.send_task("fleet.drill", ["r", number, "io", 1.5], queue="default")
        inspect = client.control.inspect(destination=["web-worker-1@test"], timeout=5, limit=1)
        assert until(lambda: [len(tasks) for tasks in (inspect.active() or {}).values()] == [2])
        assert until(lambda: ended(here) == set(range(10)))
