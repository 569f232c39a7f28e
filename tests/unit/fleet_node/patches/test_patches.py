"""Defects that patches mend in the worker: each shows without its patch, and does not with it."""

import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.unit.process_support import Machine, machine, pools
from tests.unit.shop_support import PATIENCE, answering, free_port, process, redis_server

UNPATCHED = """
from fleet_node import patches
patches.PATCHES = tuple(patch for patch in patches.PATCHES if patch.NAME == "parking")  # it brings the task of drills
"""
BOTH = pytest.mark.parametrize("more", ["", pytest.param(UNPATCHED, marks=pytest.mark.slow)], ids=["patched", "as it is"])


def until(what: Callable[[], object], seconds: float = PATIENCE) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.05)
    return False


@contextmanager
def redis_with_a_file(folder: Path, port: int) -> Iterator[None]:
    command = redis_server(port, folder, "--appendonly", "yes")
    with process(command, folder / "redis.log"):  # ended also if a test fails
        answering(port)
        yield


def ended(here: Machine) -> set[int]:
    return {number for number, what, _, _ in here.entries("r") if what == "end"}


@pytest.mark.long
@BOTH
def test_a_worker_with_tasks_survives_that_its_broker_goes_away(tmp_path: Path, more: str) -> None:
    port = free_port()
    here = Machine(tmp_path, port, pool="prefork")
    try:
        with redis_with_a_file(tmp_path, port), here.client() as client:
            here.announce("r")
            worker = here.start(here.release("r", more))
            for number in range(3):
                client.send_task("fleet.drill", ["r", number, "io", 5], queue="default")
            assert until(lambda: len(here.entries("r")) == 3)
        assert until(lambda: "Connection to broker lost" in here.output())
        with redis_with_a_file(tmp_path, port), here.client() as client:
            if more:
                assert until(lambda: "object has no attribute 'hostname'" in here.output()), (
                    "the defect is gone: delete its patch"
                )
                assert worker.wait(PATIENCE) != 0
                return
            client.send_task("fleet.drill", ["r", 3, "io", 0], queue="default")
            assert until(lambda: ended(here) == {0, 1, 2, 3}), here.output()
            assert worker.poll() is None
    finally:
        here.end()


@BOTH
@pytest.mark.long
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
        # Without its patch nothing happens, for ever: the test waits twice as long as it takes with the patch.
        assert until(lambda: ended(here) == {1}, PATIENCE if not more else 16) == (not more), (
            "the defect is gone: delete its patch"
        )


@pytest.mark.long
def test_a_gevent_worker_with_no_free_slot_listens_and_goes_on(tmp_path: Path) -> None:
    """How much sooner with its patch than without, benchmarks/green.py measures."""
    with machine(tmp_path) as here, here.client() as client:
        here.pool, here.concurrency = "gevent", 2
        here.start(here.release("r"))
        for number in range(10):
            client.send_task("fleet.drill", ["r", number, "io", 1.5], queue="default")
        inspect = client.control.inspect(destination=["web-worker-1@test"], timeout=5, limit=1)
        assert until(lambda: [len(tasks) for tasks in (inspect.active() or {}).values()] == [2])
        assert until(lambda: ended(here) == set(range(10)))


@BOTH
def test_what_redis_hands_to_a_worker_that_is_gone_is_not_lost(tmp_path: Path, more: str) -> None:
    options = {"visibility_timeout": 4, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    with machine(tmp_path) as here, here.client() as client, here.redis() as redis:
        here.more["FLEET_CELERY"] = json.dumps({"broker_transport_options": options})
        release = here.release("r", more)
        first = here.start(release)
        assert until(
            lambda: [client["cmd"] for client in redis.client_list() if client["cmd"] in ("brpop", "bzpopmin")]
        )  # it waits
        first.send_signal(signal.SIGSTOP)  # as a machine that was reset: its connections are as they were
        client.send_task("fleet.drill", ["r", 1, "io", 0], queue="default")
        time.sleep(0.5)  # Redis hands it over at once, or never
        first.kill()
        first.wait()
        here.start(release, 2)
        assert until(lambda: ended(here) == {1}, PATIENCE if not more else 16) == (not more), (
            "the defect is gone: delete its patch"
        )


@pytest.mark.long
@pools("prefork", "threads", "gevent")
def test_a_task_whose_retry_cannot_be_sent_is_not_lost(tmp_path: Path, pool: str) -> None:
    """It fails because the broker is full, and its next attempt cannot be sent for the same reason."""
    with machine(tmp_path) as here, here.client() as client, here.redis() as redis:
        here.pool = pool
        worker = here.start(here.release("r"))
        client.send_task("fleet.drill", ["r", 0, "io", 0], queue="default")
        assert until(lambda: ended(here) == {0})
        client.send_task("fleet.drill", ["r", 1, "io", 0], queue="elsewhere")
        redis.config_set("maxmemory", 1 << 20)  # less than it has
        redis.rename("elsewhere", "default")
        assert until(lambda: "reject requeue=" in here.output()), here.output()
        redis.config_set("maxmemory", 0)

        def both() -> bool:
            # Between a failure and its retry there may have been room again: that was sent to its first queue.
            if redis.exists("elsewhere"):
                redis.rename("elsewhere", "default")
            return ended(here) == {0, 1}

        assert until(both), here.output()
        assert worker.poll() is None


def test_messages_are_taken_by_priority_and_from_each_queue_in_turn(tmp_path: Path) -> None:
    """As kombu does, also if Redis does not notify of new messages."""
    with machine(tmp_path) as here, here.client() as client, here.redis() as redis:
        here.concurrency = 1
        redis.config_set("notify-keyspace-events", "")
        for number, (queue, priority) in enumerate([("a", 9), ("a", 0), ("a", 0), ("b", 0), ("b", 0), ("b", 6), ("a", 3)]):
            client.send_task("fleet.drill", ["r", number, "io", 0], queue=queue, priority=priority)
        here.start(here.release("r"), queues=["a", "b"])
        assert until(lambda: len(ended(here)) == 7)
        order = [number for number, what, _, _ in here.entries("r") if what == "start"]
        assert order[4:] == [6, 5, 0]  # priorities 3, 6, 9
        assert order[:4] in ([1, 3, 2, 4], [3, 1, 4, 2])
        client.send_task("fleet.drill", ["r", 7, "io", 0], queue="b")
        assert until(lambda: 7 in ended(here))
        assert until(lambda: redis.hlen("unacked") == 0)


@BOTH
def test_a_lost_broker_is_tried_again_every_three_seconds(tmp_path: Path, more: str) -> None:
    """The worker says in its log how long it waits: the wait itself is not measured."""
    port = free_port()
    here = Machine(tmp_path, port)
    try:
        with redis_with_a_file(tmp_path, port):
            here.start(here.release("r", more))
        assert until(lambda: "Trying again in 2.00 seconds" in here.output())
        later = "Trying again in 4.00 seconds" if more else "Trying again in 3.00 seconds"
        assert until(lambda: later in here.output()), "the defect is gone: delete its patch" if more else here.output()
    finally:
        here.end()


ANSWERS = """
@app.task
def answer(number):
    return number
@app.task
def ask(number):
    return answer.apply_async([number], queue="default").get(disable_sync_subtasks=False)
"""


def results(client: Celery, name: str, values: Iterable[Any]) -> list[Any]:
    """Send tasks at once, and wait for their results."""
    sent = [client.send_task(name, [value], queue="default") for value in values]
    return [result.get(timeout=PATIENCE) for result in sent]


@BOTH
def test_a_short_task_is_handed_to_its_process_in_one_write(tmp_path: Path, more: str) -> None:
    """A long one is not, since a pipe may take a part of it. Each arrives as it was sent."""
    with machine(tmp_path) as here, here.client() as client:
        here.pool, here.concurrency = "prefork", 1
        # An encrypted connection writes too.
        here.more |= {
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{here.port}/0",
            "CELERY_RESULT_BACKEND": f"redis://127.0.0.1:{here.port}/1",
        }
        worker = here.start(here.release("r", ANSWERS + more))

        def writes() -> int:
            return int(Path(f"/proc/{worker.pid}/io").read_text().split("syscw: ")[1].split()[0])

        before = writes()
        assert results(client, "jobs.answer", range(100)) == list(range(100))
        # One of its log, and one or two to the process.
        assert (writes() - before > 250) == bool(more), "the defect is gone: delete its patch"
        texts = ["x" * size for size in (3000, 4000, 4090, 4100, 5000, 100_000)]
        assert results(client, "jobs.answer", texts) == texts


@BOTH
@pytest.mark.long
def test_green_tasks_share_their_connections_for_results(tmp_path: Path, more: str) -> None:
    """As many as slots, and not as many as tasks. Each gets its own result, also of a task that it waits for itself."""
    with machine(tmp_path) as here, here.client() as client, here.redis() as redis:
        here.pool, here.concurrency = "gevent", 10
        here.start(here.release("r", ANSWERS + more))
        before = redis.info("stats")["total_connections_received"]
        assert results(client, "jobs.answer", range(100)) == list(range(100))
        opened = redis.info("stats")["total_connections_received"] - before
        assert (opened > 100) == bool(more), "the defect is gone: delete its patch"
        if more:
            return
        assert opened < 30
        # Five ask at once, and five slots are left for the answers.
        for first in range(0, 50, 5):
            assert results(client, "jobs.ask", range(first, first + 5)) == list(range(first, first + 5))
