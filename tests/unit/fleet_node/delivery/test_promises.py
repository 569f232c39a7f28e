"""What is promised of tasks, whatever their length and whatever happens to their worker."""

import random
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.unit.fleet_node.delivery.lease_support import LEASE, begun, ended, kill, leased, left, send, twice, until
from tests.unit.process_support import ROOT, pools
from tests.unit.shop_support import process

POOLS = pools("prefork", "threads", "gevent")
RETRIES = """
@app.task(name="retries", bind=True, ignore_result=True, max_retries=1)
def retries(self, seconds):
    if self.request.retries:
        print("the second attempt runs", flush=True)
    else:
        raise self.retry(countdown=seconds)
"""
CLOCK = """
import os, time
real, offset = time.time, float(os.environ["CLOCK_OFFSET"])
time.time = lambda: real() + offset
"""


@pytest.mark.slow
@pools("prefork", "threads", "gevent", "solo")
def test_tasks_etas_and_retries_of_many_leases_run_once_through_a_rollout(tmp_path: Path, pool: str) -> None:
    """A task of 10 leases, an ETA of 20, a retry that waits for 5. Workers are replaced meanwhile, one after the other."""
    with leased(tmp_path, pool) as here, here.client() as client:
        here.drain_seconds = 20 * LEASE
        release = here.release("r", RETRIES)
        here.start(release, 1)
        here.start(release, 2)
        send(client, 0, countdown=20 * LEASE)
        client.send_task("retries", [5 * LEASE], queue="default")
        send(client, 1, 10 * LEASE)
        assert until(lambda: 1 in begun(here))
        for number in (1, 2, 3):
            here.start(release, number + 2)
            here.stop([f"celery-web@{number}.service"])
        assert until(lambda: ended(here) == {0, 1}, 25 * LEASE), here.output(4)
        assert twice(here) == {}
        outputs = "".join(path.read_text() for path in tmp_path.glob("run/*/journal"))
        assert outputs.count("the second attempt runs") == 1
        here.stop(list(here.running))
        assert left(here) == []


@pytest.mark.long
def test_two_hundred_messages_of_a_gevent_worker_are_back_when_it_starts_again(tmp_path: Path) -> None:
    with leased(tmp_path, "gevent", lease=600) as here, here.client() as client, here.redis() as redis:
        here.concurrency = 200
        release = here.release("r")
        here.start(release)
        for number in range(200):
            send(client, number, 600 if number < 100 else 0, countdown=0 if number < 100 else 600)
        assert until(lambda: len(begun(here)) == 100 and redis.hlen("unacked") == 200)
        kill(here)
        with here.redis(1) as results:
            results.flushdb()
        here.start(release)
        assert until(lambda: len(begun(here)) == 100), here.output()
        assert until(lambda: redis.hlen("unacked") == 200)
        assert "an earlier process of this worker is gone: 200 messages that it held go back" in here.output()


@POOLS
@pytest.mark.slow
def test_nothing_is_lost_when_a_worker_is_killed_at_any_moment(tmp_path: Path, pool: str) -> None:
    """Fifty times, and it starts again each time."""
    with leased(tmp_path, pool, lease=60) as here, here.client() as client, here.redis() as redis:
        chance = random.Random(17)
        release, sent = here.release("r"), 0
        for _ in range(50):
            here.start(release)
            for number in range(sent, sent + 20):
                send(client, number, chance.choice([0, 0.01, 0.3]), countdown=chance.choice([0, 0, 0.2]))
            sent += 20
            time.sleep(chance.uniform(0, 0.6))  # the moment
            kill(here)
        here.start(release)
        assert until(lambda: len(ended(here)) == sent), sorted(set(range(sent)) - ended(here))
        assert until(lambda: redis.hlen("unacked") == 0)


@pytest.mark.long
@POOLS
def test_what_a_worker_holds_stays_with_it_if_it_is_stopped_for_less_than_the_lease(tmp_path: Path, pool: str) -> None:
    with leased(tmp_path, pool, lease=6) as here, here.client() as client, here.redis() as redis:
        release = here.release("r")
        stopped = here.start(release, 1)
        send(client, 0, 2)
        assert until(lambda: 0 in begun(here))
        here.start(release, 2)
        since = redis.time()[0]
        stopped.send_signal(signal.SIGSTOP)
        assert until(lambda: redis.time()[0] >= since + 3)
        stopped.send_signal(signal.SIGCONT)
        assert until(lambda: ended(here) == {0}), here.output()
        assert begun(here) == {0: ["web-worker-1@test"]}
        assert until(lambda: redis.hlen("unacked") == 0)
        assert "the lease has ended" not in here.output()


@pytest.mark.long
def test_clocks_of_machines_may_differ_by_minutes(tmp_path: Path) -> None:
    """Both ways: each of two workers sees the other's clock ten minutes away, and Redis' clock five."""
    with leased(tmp_path) as here, here.client() as client:
        release = here.release("r", CLOCK)
        for number, offset in ((1, -300), (2, 300)):
            here.more["CLOCK_OFFSET"] = str(offset)
            here.start(release, number)
        for number in range(8):
            send(client, number, 3 * LEASE)
        assert until(lambda: len(begun(here)) == 8)
        assert until(lambda: len(ended(here)) == 8), here.output()
        assert twice(here) == {}
        send(client, 8, 1)
        assert until(lambda: 8 in begun(here))
        dead = 1 if begun(here)[8] == ["web-worker-1@test"] else 2
        kill(here, dead)
        assert until(lambda: 8 in ended(here), LEASE + 15), here.output(3 - dead)


@POOLS
@pytest.mark.long
def test_workers_of_plain_celery_and_of_the_fleet_share_a_broker(tmp_path: Path, pool: str) -> None:
    """A fleet that changes over, or the app on a laptop: neither takes what the other has, and a stop loses nothing."""
    with leased(tmp_path, pool) as here, here.client() as client, here.redis() as redis:
        here.concurrency = 2
        plain = here.release("plain", "import fleet_node.drill\nfleet_node.drill.register(app)")
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "jobs",
            "worker",
            "-P",
            pool,
            "-c",
            "2",
            "--prefetch-multiplier=1",
            "-n",
            "old@test",
            "-Q",
            "default",
        ]
        environment = here.environment | {"PYTHONPATH": f"{plain}:{ROOT}"}
        with process(command, tmp_path / "old.log", environment, tmp_path) as old:
            send(client, 2, countdown=4 * LEASE)  # makes room for one more
            assert until(lambda: redis.hlen("unacked") == 1), (tmp_path / "old.log").read_text()
            send(client, 0, 3 * LEASE)
            send(client, 1, 3 * LEASE)
            assert until(lambda: begun(here).keys() == {0, 1}), (tmp_path / "old.log").read_text()
            assert until(lambda: redis.hlen("unacked") == 3)
            here.start(here.release("r"))
            for number in range(3, 5):
                send(client, number, 3 * LEASE)
            assert until(lambda: len(begun(here)) == 4)
            old.terminate()  # it finishes what runs, and gives back what waits
            assert until(lambda: ended(here) == set(range(5))), here.output()
            assert twice(here) == {}
        assert until(lambda: redis.hlen("unacked") == 0)


@POOLS
@pytest.mark.long
def test_a_worker_whose_broker_has_forgotten_all_goes_on(tmp_path: Path, pool: str) -> None:
    """FLUSHALL, or a broker that comes back empty: tasks are lost with it, and workers are not."""
    with leased(tmp_path, pool) as here, here.client() as client, here.redis() as redis:
        worker = here.start(here.release("r"))
        send(client, 0, 2 * LEASE)
        assert until(lambda: 0 in begun(here))
        redis.flushdb()
        here.announce("r")
        assert until(lambda: ended(here) == {0}), here.output()
        send(client, 1)
        assert until(lambda: ended(here) == {0, 1}), here.output()
        assert worker.poll() is None
        assert until(lambda: redis.hlen("unacked") == 0)


@pytest.mark.long
@pools("prefork", "solo")
def test_a_worker_takes_tasks_with_an_eta_as_they_come(tmp_path: Path, pool: str) -> None:
    """They are none that its processes have to do, and no reason to wait for the ends of others."""
    number = 100
    with leased(tmp_path, pool) as here, here.client() as client, here.redis() as redis:
        here.concurrency = 1
        here.start(here.release("r"))
        for task in range(number):
            send(client, task, countdown=3600)
        assert until(lambda: redis.hlen("unacked") == number), redis.hlen("unacked")


@pytest.mark.slow
def test_a_worker_that_holds_ten_thousand_etas_is_soon_back_when_it_has_lost_its_connection(tmp_path: Path) -> None:
    number = 10_000
    with leased(tmp_path, "prefork", 15) as here, here.client() as client, here.redis() as redis:
        here.concurrency = 1
        here.start(here.release("r"))
        with client.producer_or_acquire() as producer:
            for task in range(number):
                send(client, task, countdown=3600, producer=producer)
        assert until(lambda: redis.hlen("unacked") == number, 60), redis.hlen("unacked")
        redis.client_kill_filter(_type="normal", skipme=True)
        send(client, number)
        assert until(lambda: number in begun(here)), here.output()[-2000:]
        assert until(lambda: redis.hlen("unacked") == number)
