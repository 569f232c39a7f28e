"""What a dead worker held is back when its lease has ended, and what a living one holds stays with it, however long it takes."""

import json
import signal
from pathlib import Path

import pytest

from tests.unit.fleet_node.delivery.lease_support import LEASE, begun, ended, leased, left, until
from tests.unit.process_support import pools

POOLS = pools("prefork", "threads", "gevent")

SOME = pytest.mark.parametrize(
    "pool", [pytest.param("prefork", marks=pytest.mark.long), "threads", pytest.param("gevent", marks=pytest.mark.long)]
)


@SOME
def test_what_a_dead_worker_held_is_back_when_its_lease_has_ended(tmp_path: Path, pool: str) -> None:
    with leased(tmp_path, pool) as here, here.client() as client:
        release = here.release("r")
        dead = here.start(release, 1)
        client.send_task("fleet.drill", ["r", 0, "io", 2], queue="default")
        assert until(lambda: 0 in begun(here))
        dead.kill()
        dead.wait()
        here.start(release, 2)
        assert until(lambda: ended(here) == {0}, LEASE + 15), here.output(2)
        assert begun(here) == {0: ["web-worker-1@test", "web-worker-2@test"]}
        assert "web-worker-1@test is gone: 1 messages that it held go back to their queues" in here.output(2)


def test_a_worker_that_starts_again_gives_back_at_once_what_it_held_in_the_same_order(tmp_path: Path) -> None:
    with leased(tmp_path, "threads") as here, here.client() as client:
        here.more["FLEET_CELERY"] = json.dumps({"lease": 600})
        here.concurrency, here.prefetch = 1, 50
        release = here.release("r")
        dead = here.start(release)
        client.send_task("fleet.drill", ["r", 0, "io", 60], queue="default")
        assert until(lambda: 0 in begun(here))
        for number in range(1, 20):
            client.send_task("fleet.drill", ["r", number, "io", 0], queue="default")
        with here.redis() as redis:
            assert until(lambda: redis.hlen("unacked") == 20)
            dead.kill()
            dead.wait()
            here.running.clear()
            here.concurrency = 2  # the first one takes a minute
            here.start(release)
        assert until(lambda: ended(here) == set(range(1, 20))), here.output()
        order = [number for number, what, _, _ in here.entries("r") if what == "start"]
        assert 0 in order[1:]
        assert [number for number in order if number] == list(range(1, 20))  # one after the other, beside the first
        assert "an earlier process of this worker is gone: 20 messages that it held go back to their queues" in here.output()


@pytest.mark.long
@POOLS
def test_a_task_and_an_eta_of_many_leases_run_once(tmp_path: Path, pool: str) -> None:
    with leased(tmp_path, pool) as here, here.client() as client:
        release = here.release("r")
        here.start(release, 1)
        client.send_task("fleet.drill", ["r", 0, "io", 4 * LEASE], queue="default")
        client.send_task("fleet.drill", ["r", 1, "io", 0], queue="default", countdown=4 * LEASE)
        here.start(release, 2)
        assert until(lambda: ended(here) == {0, 1}, 30), here.output()
        assert {number: len(workers) for number, workers in begun(here).items()} == {0: 1, 1: 1}
        here.stop(list(here.running))
        assert left(here) == []


@pytest.mark.long
@POOLS
def test_a_worker_that_was_stopped_for_longer_says_so_and_goes_on(tmp_path: Path, pool: str) -> None:
    with leased(tmp_path, pool) as here, here.client() as client:
        here.concurrency = 1
        here.prefetch = 2
        release = here.release("r")
        stopped = here.start(release, 1)
        client.send_task("fleet.drill", ["r", 0, "io", 3], queue="default")
        assert until(lambda: 0 in begun(here))
        client.send_task("fleet.drill", ["r", 1, "io", 0], queue="default")
        with here.redis() as redis:
            assert until(lambda: redis.hlen("unacked") == 2)
            stopped.send_signal(signal.SIGSTOP)
            here.start(release, 2)
            assert until(lambda: ended(here) >= {0, 1}, LEASE + 20), here.output(2)
            stopped.send_signal(signal.SIGCONT)
            assert until(lambda: "the lease has ended" in here.output(1)), here.output(1)
            # What it had not begun is left to the other worker, which has done it.
            assert until(lambda: redis.zcard("fleet.workers") == 2), here.output(1)
            here.stop(["celery-web@2.service"])
            client.send_task("fleet.drill", ["r", 2, "io", 0], queue="default")
            assert until(lambda: 2 in ended(here)), here.output(1)
            assert begun(here)[1] == ["web-worker-2@test"]
            assert until(lambda: redis.hlen("unacked") == 0)


@pytest.mark.long
def test_a_worker_that_ends_leaves_nothing_behind(tmp_path: Path) -> None:
    with leased(tmp_path, "prefork") as here, here.client() as client:
        release = here.release("r")
        here.start(release)
        for number in range(30):
            client.send_task("fleet.drill", ["r", number, "io", 0.05], queue="default", countdown=60 if number % 3 == 0 else 0)
        assert until(lambda: len(ended(here)) == 20)
        here.stop(list(here.running))
        assert left(here) == []
        with here.redis() as redis:
            assert redis.llen("default") == 10
