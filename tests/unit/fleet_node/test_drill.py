"""The task of `fleet drill`: a worker has it only while a drill is announced."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery.app.registry import TaskRegistry

from fleet_node.protocol import DRILL_ANNOUNCED, DRILL_TASK, PARKED
from fleet_node.worker import drill_tasks
from tests.unit.fleet_node.patches.test_patches import ended, until
from tests.unit.process_support import Machine, machine, pools


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as here:
        with here.redis() as redis:
            redis.delete(DRILL_ANNOUNCED)
        yield here


POOLS = pytest.mark.parametrize(
    "pool",
    [
        pytest.param("prefork", marks=pytest.mark.long),
        pytest.param("threads", marks=pytest.mark.long),
        pytest.param("gevent", marks=pytest.mark.long),
        pytest.param("solo", marks=pytest.mark.long),
        pytest.param("spawn", marks=pytest.mark.long),
    ],
)


def start(here: Machine, pool: str, number: int = 1) -> None:
    here.pool, here.flags = ("prefork", "--pool-start-method=spawn") if pool == "spawn" else (pool, "")
    here.concurrency = 1 if pool in ("solo", "prefork", "spawn") else 4
    here.more["FLEET_MAX_DELIVERIES"] = "2"
    folder = here.root / "releases" / "r"
    here.start(folder if folder.exists() else here.release("r"), number)


@POOLS
def test_a_drill_runs_only_while_it_is_announced(here: Machine, pool: str) -> None:
    start(here, pool)
    with here.client() as client, here.redis() as redis:
        client.send_task(DRILL_TASK, ["r", 1, "io", 0], queue="default")
        assert until(lambda: "dropped: its drill does not run any more" in here.output()), here.output()
        assert until(lambda: redis.hlen("unacked") == 0)
        assert redis.hlen(PARKED) == 0  # nobody would ever send it again
        here.announce("r")
        for number in (2, 3, 4):
            client.send_task(DRILL_TASK, ["r", number, "io", 0], queue="default")
        assert until(lambda: ended(here) == {2, 3, 4}), here.output()
        assert {node for _, _, _, node in here.entries("r")} == {"web-worker-1@test"}
        # A worker that comes up in the middle of a drill has it too.
        here.stop(["celery-web@1.service"])
        start(here, pool, 2)
        client.send_task(DRILL_TASK, ["r", 5, "io", 0], queue="default")
        assert until(lambda: ended(here) >= {2, 3, 4, 5}), here.output(2)


@pytest.mark.long
@pools("prefork", "threads")
def test_a_worker_that_has_the_task_refuses_it_when_its_drill_is_over(here: Machine, pool: str) -> None:
    here.announce("r")
    start(here, pool)
    with here.client() as client, here.redis() as redis:
        client.send_task(DRILL_TASK, ["r", 1, "io", 0], queue="default")
        assert until(lambda: ended(here) == {1}), here.output()
        redis.delete(DRILL_ANNOUNCED)
        client.send_task(DRILL_TASK, ["r", 2, "io", 0], queue="default")
        here.announce("another")
        client.send_task(DRILL_TASK, ["r", 3, "io", 0], queue="default")
        assert until(lambda: here.output().count("NotAnnouncedError: drill r does not run any more") >= 2), here.output()
        assert until(lambda: redis.hlen("unacked") == 0)
        assert redis.llen("default") == 0  # and does not try it again
        assert ended(here) == {1}


@pytest.mark.long
def test_a_worker_without_a_drill_does_not_have_the_task(here: Machine) -> None:
    start(here, "threads")
    with here.client() as client:
        inspect = client.control.inspect(destination=["web-worker-1@test"], timeout=3, limit=1)
        # A question that comes before the worker listens is lost.
        answers: list[dict[str, list[str]]] = []
        assert until(lambda: answers.append(inspect.registered() or {}) or answers[-1])  # type: ignore[func-returns-value]
        registered = answers[-1]["web-worker-1@test"]
    assert "fleet.probe" in [task.split()[0] for task in registered]
    assert DRILL_TASK not in [task.split()[0] for task in registered]


class OwnRegistry(TaskRegistry):  # type: ignore[misc]
    """An app may have a registry of its own."""

    own = True


def test_a_registry_of_the_apps_own_class_stays_one() -> None:
    with Celery("shop", set_as_current=False) as app:
        app._tasks = OwnRegistry()
        drill_tasks.install(app, main=0)  # as a solo pool does, before the worker is set up
        drill_tasks.install(app, main=42)
        assert isinstance(app._tasks, OwnRegistry)
        assert isinstance(app._tasks, drill_tasks.DrillTasks)
        assert (app._tasks.own, app._tasks.fleet_main) == (True, 42)
        drill_tasks.install(app, main=0)
        assert app._tasks.fleet_main == 42


@pytest.mark.long
def test_a_hundred_slots_share_a_few_connections_to_the_ledger(here: Machine) -> None:
    """A hundred greenlets that each begin a TLS connection on a slow machine would never end one."""
    here.pool, here.concurrency = "gevent", 100
    here.announce("r")
    here.start(here.release("r"))
    with here.client() as client, here.redis() as redis:
        client.send_task(DRILL_TASK, ["r", 0, "io", 0], queue="default")
        assert until(lambda: ended(here) == {0}), here.output()
        before = redis.info("stats")["total_connections_received"]
        for number in range(1, 201):
            client.send_task(DRILL_TASK, ["r", number, "io", 0.2], queue="default")
        assert until(lambda: ended(here) == set(range(201))), here.output()
        # Its own, the worker's and the test's: a connection a task would be 200 and more.
        assert redis.info("stats")["total_connections_received"] - before < 100
