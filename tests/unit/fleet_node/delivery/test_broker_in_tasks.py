"""An app uses its broker in tasks and beside them as if nothing were patched: each of `cases` gives what Celery and kombu give.

All cases of a pool run on one worker, one after the other. With `slow`, they run on a worker without patches too.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.fleet_node.delivery.cases import CASES, tasks
from tests.unit.fleet_node.delivery.lease_support import begun, ended, leased, left, send, until
from tests.unit.process_support import pools
from tests.unit.shop_support import PATIENCE

assert tasks  # its import declares the cases

PREPARE = """
app.conf.update(task_acks_late=False)
from tests.unit.fleet_node.delivery.cases.tasks import prepare
prepare(app)
"""
STOCK = """
from fleet_node import patches
patches.PATCHES = ()
"""
ONE = 30
"""Seconds for one case."""
POOLS = pools("prefork", "threads", "gevent")


def given(folder: Path, pool: str, module: str) -> tuple[dict[str, Any], list[bytes]]:
    """What each case gives on a worker of this pool, and what it has left in Redis when the worker has ended."""
    results = {}
    with leased(folder, pool, lease=60) as here, here.client() as client, here.redis() as redis:
        here.concurrency, here.prefetch, here.flags = 4, 2, "-E"
        worker = here.start(here.release("r", module))
        for name, case in CASES.items():
            if pool not in case.pools:
                continue
            result = client.send_task("cases.run", [name], queue="default")
            assert until(result.ready, ONE) or worker.poll() is None, here.output()
            results[name] = result.result if result.successful() else f"{result.state}: {result.result!r}"
        assert until(lambda: redis.hlen("unacked") == 0), here.output()
        here.stop(list(here.running))
        return results, left(here)


def different(results: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Cases that gave something else than they are declared with: both."""
    return {name: (result, CASES[name].gives) for name, result in results.items() if result != CASES[name].gives}


@pytest.mark.long
@POOLS
def test_an_app_that_uses_its_broker_gets_what_celery_gives(tmp_path: Path, pool: str) -> None:
    results, behind = given(tmp_path, pool, PREPARE)
    assert different(results) == {}
    assert len(results) >= 60
    assert behind == []


@pytest.mark.slow
@POOLS
def test_the_cases_are_what_celery_gives_without_patches(tmp_path: Path, pool: str) -> None:
    assert different(given(tmp_path, pool, STOCK + PREPARE)[0]) == {}


@pytest.mark.long
@POOLS
def test_a_bootstep_that_consumes_gives_back_no_task_that_runs_when_the_worker_stops(tmp_path: Path, pool: str) -> None:
    """Celery closes its channel before the tasks have ended."""
    with leased(tmp_path, pool, lease=60) as here, here.client() as client, here.redis() as redis:
        worker = here.start(here.release("r", PREPARE))
        send(client, 0, 2)
        assert until(lambda: 0 in begun(here))
        worker.terminate()
        worker.wait(PATIENCE)
        assert ended(here) == {0}, here.output()
        assert redis.llen("default") == 0
        assert left(here) == []
